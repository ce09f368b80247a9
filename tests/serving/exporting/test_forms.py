"""The exportable forms of models, held against the models themselves."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from recgnn import load
from recgnn.errors import ConfigError
from recgnn.models.base import Recommender
from recgnn.models.din import DIN as DeepInterest
from recgnn.serving.exporting.inputs import Input, inputs_of, native_answer
from recgnn.serving.exporting.programs import program_of

SMALL = {"embedding_dim": 4, "hidden_dims": [6]}
DIN, BST = {**SMALL, "attention_dims": [5]}, {**SMALL, "num_heads": 2}
CLICKS = [
    ("LR", {}),
    ("Poly2", {}),
    ("Poly2", {"max_crosses": 37}),
    ("FM", {"embedding_dim": 8}),
    ("FM", {"embedding_dim": 8, "task": "regression"}),
    ("FFM", {"embedding_dim": 3}),
    ("WideDeep", {**SMALL, "crosses": [["user", "genre"], ["place", "item"]], "batch_norm": True}),
    ("DeepFM", {**SMALL, "embedding_dim": 8}),
    ("DCNv2", SMALL),
    ("DCNv2", {**SMALL, "structure": "stacked"}),
    ("DIN", DIN),
    ("DIN", {**DIN, "attention": "softmax", "attention_activation": "prelu", "batch_norm": True}),
    ("DIN", {**DIN, "attention": "none"}),
    ("BST", BST),
    ("BST", {**BST, "position": "order", "pooling": "mean", "num_blocks": 2, "num_heads": 3}),
    ("BST", {**BST, "position": "none", "pooling": "concat", "max_length": 3, "layer_norm": False}),
    ("BST", {**BST, "pooling": "concat", "max_length": 9, "num_blocks": 2}),
    ("BST", {**BST, "position": "order", "max_length": 2}),
]
RECOMMENDERS = [
    ("MF", {"embedding_dim": 5}),
    ("MF", {"embedding_dim": 5, "biases": True, "task": "rating"}),
    ("GCN", {"embedding_dim": 5, "layer_dims": [4, 4], "readout": "concat"}),
    ("NGCF", {"embedding_dim": 5, "layer_dims": [4, 4]}),
    ("LightGCN", {"embedding_dim": 5, "num_layers": 2}),
    ("AutoRec", {"hidden_dims": [6]}),
    ("AutoRec", {"hidden_dims": [6, 4], "by": "user", "output_activation": "sigmoid"}),
    ("DAE", {"hidden_dims": [6]}),
    ("DAE", {"hidden_dims": [6, 4], "normalise": True}),
    ("CDAE", {"hidden_dim": 6, "tied": True, "output_activation": "sigmoid"}),
    ("iALS", {"embedding_dim": 4, "num_iterations": 2}),
]
HISTORIES = [("EASE", {}), ("GraphFilter", {"dim": 5}), ("ItemKNN", {"num_neighbours": 7}), ("Popularity", {})]


def named(cases: list) -> dict:
    ids = [f"{name}{''.join(f'-{v}' for v in options.values() if isinstance(v, str))}" for name, options in cases]
    return {"argvalues": cases, "ids": ids}


@pytest.mark.parametrize(("name", "options"), **named(CLICKS))
@torch.no_grad()
def test_events_score_as_by_the_model(name: str, options: dict, click_model) -> None:
    trained = load(click_model(name, **options))
    form = trained.model.exportable()
    examples = inputs_of(trained, form)
    inputs, expected = [i.example for i in examples], native_answer(trained, examples)
    found = form(*inputs)
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    if len(inputs) > 2:
        assert sorted(inputs[4].tolist()) == [0, 1, 2, 3, 4, 5]  # uneven, one without a past


@torch.no_grad()
def test_what_stands_behind_a_history_counts_for_nothing(click_model) -> None:
    for name, options in (("DIN", DIN), ("DIN", {**DIN, "attention": "softmax"}), ("BST", {**BST, "pooling": "mean"})):
        trained = load(click_model(name, **options))
        form = trained.model.exportable()
        inputs = [i.example for i in inputs_of(trained, form)]
        before = form(*inputs)
        behind = torch.arange(inputs[2].shape[1]) >= inputs[4][:, None]
        inputs[2][behind], inputs[3][behind] = 0, 99.0
        torch.testing.assert_close(form(*inputs), before)


@pytest.mark.parametrize(("name", "options"), **named(RECOMMENDERS + HISTORIES))
@torch.no_grad()
def test_recommenders_score_as_the_model(name: str, options: dict, recommender) -> None:
    trained = load(recommender(name, **options))
    form = trained.model.exportable()
    examples = inputs_of(trained, form)
    found, expected = form(*(i.example for i in examples)), native_answer(trained, examples)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert found.shape[0] == 3 and found.std(1).min() > 0.01


@pytest.mark.parametrize(("name", "options"), **named(HISTORIES))
@torch.no_grad()
def test_models_of_histories_are_traced(name: str, options: dict, recommender) -> None:
    """With any number of rows; of vectors they have none."""
    trained = load(recommender(name, **options))
    program = program_of(trained.model.exportable(), inputs_of(trained, trained.model.exportable())).module()
    rows = (torch.rand(7, trained.model.num_items) < 0.3).float()
    torch.testing.assert_close(program(rows), trained.model(rows))
    with pytest.raises(ConfigError, match=f"{name} has no representations"):
        trained.model.embeddings()


@torch.no_grad()
def test_cdae_without_a_user_scores_as_for_a_new_one(recommender) -> None:
    model = load(recommender("CDAE", hidden_dim=6)).model
    rows = torch.zeros(2, model.num_items)
    rows[0, [1, 5]], rows[1, [2, 3, 4]] = 1, 1
    place, columns = rows.nonzero().T
    expected = model.score_history(place, columns, torch.ones(5), 2)
    torch.testing.assert_close(model(rows, torch.tensor([-1, -1])), expected)


@pytest.mark.parametrize(("name", "options"), **named(RECOMMENDERS))
@torch.no_grad()
def test_vectors_have_the_scores_as_inner_products(name: str, options: dict, recommender) -> None:
    model = load(recommender(name, **options)).model
    user, item = model.score_vectors()
    found, expected = user @ item.T, model.score(torch.arange(model.num_users))
    if options.get("output_activation") == "sigmoid":  # a score is the activation of the inner product
        low, high = (model.low, model.high) if model.task == "rating" else (0, 1)
        found = low + (high - low) * found.sigmoid()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_recommender_of_another_kind_is_refused() -> None:
    class Popular(Recommender):
        def score(self, users):
            return torch.zeros(len(users), self.num_items)

    with pytest.raises(ConfigError, match="Popular cannot be exported: it does not define exportable"):
        Popular(3, 30).exportable()
    with pytest.raises(ConfigError, match="Popular has no representations"):
        Popular(3, 30).score_vectors()


@torch.no_grad()
def test_one_item_field_as_wide_as_a_vector_of_the_processor() -> None:
    """torch's exporter takes lengths apart at a width of 8, unless the sizes are told it."""
    model = DeepInterest([5, 7], item_slots=[1], embedding_dim=8, hidden_dims=[4], attention_dims=[4])
    form = model.exportable().eval()
    ids = torch.tensor([[0, 5], [3, 9], [4, 11]])
    past = torch.tensor([[5, 6], [7, 8], [9, 5]])[:, :, None]
    inputs = [
        Input("ids", ("batch", 2), ids),
        Input("values", ("batch", 2), torch.ones(3, 2)),
        Input("history_ids", ("batch", "length", 1), past),
        Input("history_values", ("batch", "length", 1), torch.ones(3, 2, 1)),
        Input("history_lengths", ("batch",), torch.tensor([2, 0, 1])),
    ]
    program = program_of(form, inputs).module()
    longer = [torch.cat([i.example, i.example], 1) if "length" in i.shape else i.example for i in inputs]
    for given in ([i.example for i in inputs], longer):
        assert_close(program(*given), form(*given))
