"""What CTR models share: the loss, its regularisation, and learning."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from recgnn import models
from recgnn.data.clicks.loaders import CTRBatch
from recgnn.errors import ConfigError
from recgnn.models import BST, DIN, FFM, FM, LR, DCNv2, DeepFM, Poly2, WideDeep
from recgnn.models.ctr import CTRModel
from recgnn.nn.embedding import GivenVectors

EVERY = [m for m in (getattr(models, name) for name in models.__all__) if issubclass(m, CTRModel)]


def small(kind: type, **options) -> dict:
    names = kind.__init__.__annotations__
    given = {"hidden_dims": [4, 3], "embedding_dim": 3, "max_crosses": 4096, "item_slots": [1], "num_heads": 1}
    given |= options
    return {k: v for k, v in given.items() if k in names}


@pytest.mark.parametrize("kind", EVERY)
def test_no_values_are_values_of_one(kind, ctr_model, events) -> None:
    model = ctr_model(kind, **small(kind))
    assert_close(model(events.ids), model(events.ids, torch.ones_like(events.values)))
    assert model(events.ids, events.values).shape == (5,)
    assert_close(model.predict_events(events.ids, events.values), model(events.ids, events.values).sigmoid().float())


@pytest.mark.parametrize("kind", EVERY)
def test_a_feature_of_value_0_does_nothing(kind, ctr_model, events) -> None:
    """Padding of a multi-valued field: whatever row stands there."""
    model = ctr_model(kind, **small(kind))
    other = events.ids.clone()
    padding = events.values == 0
    assert padding.sum() > 3
    other[padding] = 9  # the first row of that field
    assert_close(model(other, events.values), model(events.ids, events.values))


@pytest.mark.parametrize("kind", EVERY)
def test_l2_of_the_batchs_rows(kind, ctr_model, click_step, events) -> None:
    """Each row once, over the number of events; the gradient is lambda of that times the row, and 0 elsewhere."""
    options = small(kind)
    if kind is WideDeep:
        options |= {"field_names": list("abcd"), "crosses": [["a", "b"], ["c", "b"]]}
    model = ctr_model(kind, **options)
    parameters = dict(model.named_parameters())
    present = events.values != 0  # not padding
    rows = {"linear.weight": events.ids[present], "embedding.weight": events.ids[present]}
    if kind in (Poly2, WideDeep):
        index = model.index
        rows["crosses.weight"] = index(events.ids)[present[:, index.left] & present[:, index.right]]
    rows = {name: set(ids.flatten().tolist()) for name, ids in rows.items() if name in parameters}
    assert len(rows) == {LR: 1, Poly2: 2, WideDeep: 3, DCNv2: 1, DIN: 1, BST: 1}.get(kind, 2)
    losses = {}
    for l2 in (0.3, 0.0):
        loss = click_step(model, l2=l2, l2_on="batch").training_step(events.batch, 0)
        losses[l2] = loss, torch.autograd.grad(loss, list(parameters.values()))
    (with_l2, gradients), (plain, without) = losses.values()
    norm = sum((parameters[name][row] ** 2).sum() for name, own in rows.items() for row in own)
    assert_close(with_l2 - plain, 0.3 / 2 * norm / 5, check_dtype=False)
    for name, ours, theirs in zip(parameters, gradients, without, strict=True):
        expected = torch.zeros_like(ours)
        for row in rows.get(name, ()):
            expected[row] = 0.3 / 5 * parameters[name][row]
        assert torch.allclose(ours - theirs, expected, atol=1e-6), name


@pytest.mark.parametrize("kind", EVERY)
def test_pairs_are_learnt_by_all_but_the_linear_model(kind) -> None:
    """Whether two halves of the values meet: no field tells anything by itself. Plain torch, no Lightning."""
    torch.manual_seed(0)
    ids = torch.randint(20, (3000, 2))
    labels = ((ids[:, 0] < 10) ^ (ids[:, 1] < 10)).float()
    ids[:, 1] += 20
    options = small(kind, hidden_dims=[16], embedding_dim=8)
    if kind is WideDeep:
        options |= {"field_names": ["user", "item"], "crosses": [["user", "item"]]}
    model = kind([20, 20], **options)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for rows in torch.arange(2400).repeat(10).split(240):
        loss = F.binary_cross_entropy_with_logits(model(ids[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    chance = model.eval().predict_events(ids[2400:], None)
    right = ((chance > 0.5) == labels[2400:].bool()).double().mean().item()
    assert right < 0.65 if kind is LR else right > 0.9


@pytest.mark.parametrize("kind", EVERY)
def test_only_the_tables_are_regularised(kind, ctr_model, click_step, events) -> None:
    """Neither the bias nor the layers of a deep part."""
    model = ctr_model(kind, **small(kind))
    norm = click_step(model, l2=0.3).regularisation(events.batch)
    gradients = torch.autograd.grad(norm, list(model.parameters()), allow_unused=True)
    for (name, value), gradient in zip(model.named_parameters(), gradients, strict=True):
        if name in ("linear.weight", "embedding.weight", "crosses.weight"):
            assert_close(gradient, value.detach())
        else:
            assert gradient is None, name


@pytest.mark.parametrize("kind", EVERY)
def test_rows_beyond_a_field_of_one_slot_each(kind) -> None:
    """Without slots, each field has one; all fields have rows of one table."""
    torch.manual_seed(0)
    options = small(kind)
    one, two = kind([3, 2, 4], **options), kind([3, 2, 4], [0, 1, 2], **options)
    two.load_state_dict(one.state_dict())
    ids = torch.tensor([[0, 3, 5], [2, 4, 8]], dtype=torch.int32)
    assert_close(one.eval()(ids), two.eval()(ids.long()))
    with pytest.raises(IndexError):
        one(torch.tensor([[0, 3, 9]]))


@pytest.mark.parametrize("kind", [DeepFM, DCNv2, WideDeep])
def test_batch_norm_and_dropout_are_for_training_alone(kind, ctr_model, events) -> None:
    model = ctr_model(kind, **small(kind), batch_norm=True, dropout=0.5)
    assert_close(model(events.ids, events.values)[:2], model(events.ids[:2], events.values[:2]))
    model.train()
    assert not torch.equal(model(events.ids, events.values), model(events.ids, events.values))


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("rule", ["lazy_adam", "rowwise_adagrad"])
def test_sparse_tables_have_the_same_gradients(kind, rule, ctr_model, click_step, events) -> None:
    """Also of the penalty on the batch's rows; and the chosen optimizer moves those rows alone."""
    options = small(kind)
    if kind is WideDeep:
        options |= {"field_names": list("abcd"), "crosses": [["a", "b"], ["c", "b"]]}
    dense, sparse = (ctr_model(kind, **options) for _ in range(2))
    penalty = {"l2": 0.3, "l2_on": "batch"}
    trainings = click_step(dense, **penalty), click_step(sparse, **penalty, table_optimizer=rule)
    batch = CTRBatch(events.ids, events.values, torch.tensor([0.0, 1, 1, 0, 1]), None)
    for training in trainings:
        training.training_step(batch, 0).backward()
    theirs = dict(dense.named_parameters())
    for name, parameter in sparse.named_parameters():
        assert parameter.grad.is_sparse == (name.partition(".")[0] in ("linear", "embedding", "crosses"))
        assert_close(parameter.grad.to_dense() if parameter.grad.is_sparse else parameter.grad, theirs[name].grad)
    before = [table.weight.detach().clone() for table in sparse.tables()]
    trainings[1].configure_optimizers().step()
    for table, old in zip(sparse.tables(), before, strict=True):
        moved = (table.weight != old).any(1)
        assert moved.any() and torch.equal(moved, table.weight.grad.to_dense().ne(0).any(1))


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_sparse_gradients_are_clipped(algorithm, ctr_model, click_step, events) -> None:
    dense, sparse = (ctr_model(DeepFM, **small(DeepFM)) for _ in range(2))
    training = click_step(sparse, l2=0.0, table_optimizer="lazy_adam")
    for model in (dense, sparse):
        model(events.ids, events.values).square().sum().backward()
    if algorithm == "norm":
        torch.nn.utils.clip_grad_norm_(dense.parameters(), 1e-3)
    else:
        torch.nn.utils.clip_grad_value_(dense.parameters(), 1e-3)
    training.configure_gradient_clipping(None, 1e-3, algorithm)
    for ours, theirs in zip(sparse.parameters(), dense.parameters(), strict=True):
        assert_close(ours.grad.to_dense() if ours.grad.is_sparse else ours.grad, theirs.grad, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("trained", [False, True])
def test_given_vectors_stand_for_rows_of_every_table(kind, ctr_model, events, trained) -> None:
    """The model is one whose tables have the mapped vectors in these rows; a copy made from its state is the same."""
    options = small(kind)
    if kind is WideDeep:
        options |= {"field_names": list("abcd"), "crosses": [["a", "b"], ["c", "b"]]}
    model = ctr_model(kind, **options)
    start, vectors = sum(model.field_dims[:1]) + 2, torch.randn(model.field_dims[1] - 2, 5).to(model.bias.dtype)
    model.set_vectors([GivenVectors(start, vectors, trained)])
    plain = ctr_model(kind, **options)
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if "maps." not in k and "given." not in k})
    tables = [table for table in model.tables() if table.of_values]
    assert len(tables) == sum(table.of_values for table in plain.tables()) >= 1
    for own, other in zip(tables, (table for table in plain.tables() if table.of_values), strict=True):
        other.weight.data[start : start + len(vectors)] = vectors @ own.maps[0]
    expected = plain(events.ids, events.values)
    assert_close(model(events.ids, events.values), expected)
    copy = type(model)(**model.arguments).to(model.bias.dtype)
    copy.load_state_dict(model.state_dict())
    assert_close(copy.eval()(events.ids, events.values), model.eval()(events.ids, events.values))
    model(events.ids, events.values).sum().backward()
    plain(events.ids, events.values).sum().backward()
    for own, other in zip(tables, (table for table in plain.tables() if table.of_values), strict=True):
        gradient = other.weight.grad[start : start + len(vectors)]
        assert_close(own.maps[0].grad, vectors.T @ gradient)
        assert not own.weight.grad[start : start + len(vectors)].any()
    if trained:
        of = [own.maps[0] @ other.weight.grad[start : start + len(vectors)].T for own, other in
              zip(tables, (table for table in plain.tables() if table.of_values), strict=True)]  # fmt: skip
        assert_close(model.given[0].vectors.grad, sum(of).T)


@pytest.mark.parametrize("kind", [LR, FM, FFM, Poly2, DeepFM])
def test_terms_are_the_parts_of_the_double_sum(kind, ctr_model, events) -> None:
    """A pair of features stands at its fields: what the logit changes by where only these two have a value."""
    model = ctr_model(kind, **small(kind))
    terms = model.terms(events.ids, events.values)
    expected = torch.zeros_like(terms.pairs)
    for event, (ids, x) in enumerate(zip(events.ids, events.values, strict=True)):

        def logit(*places: int, ids=ids, x=x) -> torch.Tensor:
            only = torch.zeros_like(x)
            only[list(places)] = x[list(places)]
            return fm_part(model, ids[None], only[None])

        for a in range(len(ids)):
            for b in range(a + 1, len(ids)):
                pair = logit(a, b) - logit(a) - logit(b) + logit()
                expected[event, events.slots[a], events.slots[b]] += pair
        for field in range(4):
            slots = [s for s, f in enumerate(events.slots) if f == field]
            own = sum(model.linear.weight[ids[s], 0] * x[s] for s in slots)
            torch.testing.assert_close(terms.fields[event, field], own.detach())
    torch.testing.assert_close(terms.pairs, expected.detach(), atol=1e-5, rtol=1e-4)  # products in single precision
    total = terms.bias + terms.fields.sum(1) + terms.pairs.sum((1, 2)) + terms.rest
    torch.testing.assert_close(total, model(events.ids, events.values).detach())
    assert (terms.rest.abs() > 1e-3).all() == (kind is DeepFM)


def fm_part(model, ids: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The logit, without DeepFM's perceptron."""
    if not isinstance(model, DeepFM):
        return model(ids, values)[0]
    v = (model.embedding.weight[ids[0]] * values[0, :, None]).double()
    return (model.linear.weight[ids[0], 0] @ values[0]) + ((v @ v.T).sum() - v.square().sum()) / 2


def test_other_models_say_that_they_explain_nothing(ctr_model, events) -> None:
    with pytest.raises(ConfigError, match="DCNv2 is no sum of fields and pairs of fields, so it explains no score"):
        ctr_model(DCNv2, **small(DCNv2)).terms(events.ids, events.values)
