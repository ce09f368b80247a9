"""Wide & Deep against its sum: linear features, declared cross products, and the deep part layer by layer."""

from __future__ import annotations

import pytest
import torch

from recgnn.data.clicks.loaders import CTRBatch
from recgnn.errors import ConfigError
from recgnn.models import WideDeep

NAMES = ["user", "item", "genres", "age"]


def deep(model, x: torch.Tensor) -> torch.Tensor:
    linear = [layer for layer in model.mlp if isinstance(layer, torch.nn.Linear)]
    for number, layer in enumerate(linear):
        x = layer.weight @ x + layer.bias
        x = x.clamp(min=0) if number < len(linear) - 1 else x
    return x[0]


def by_field(model, events, ids: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Each field's embedding, the values of several summed, one after the other."""
    e = torch.zeros(4, model.embedding.weight.shape[1], dtype=torch.float64)
    for slot, (i, x) in enumerate(zip(ids.tolist(), values.tolist(), strict=True)):
        e = e + torch.eye(4, dtype=torch.float64)[events.slots[slot]][:, None] * model.embedding.weight[i] * x
    return e.flatten()


@pytest.mark.parametrize("dim", [3, 16])  # the larger, the more fields have few rows for it
@pytest.mark.parametrize("crosses", [[], [["user", "item"], ["genres", "item"]]])
def test_logit_loss_and_gradient(crosses, dim, ctr_model, events, check_event_loss) -> None:
    model = ctr_model(WideDeep, field_names=NAMES, crosses=crosses, embedding_dim=dim, hidden_dims=[4, 3])
    w = model.linear.weight
    starts, dims = [0, 4, 9, 15], events.field_dims

    def logit(ids: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        flat, x = ids.tolist(), values.tolist()
        total = model.bias + sum(w[i, 0] * v for i, v in zip(flat, x, strict=True))
        if crosses:
            total = total + model.crosses.weight[flat[0] * dims[1] + flat[1] - starts[1], 0] * x[0] * x[1]
            for slot in (2, 3, 4):  # item x genres: the earlier field is the row
                place = dims[0] * dims[1] + (flat[1] - starts[1]) * dims[2] + flat[slot] - starts[2]
                total = total + model.crosses.weight[place, 0] * x[1] * x[slot]
        return total + deep(model, by_field(model, events, ids, values))

    expected = torch.stack([logit(i, x) for i, x in zip(events.ids, events.values, strict=True)])
    torch.testing.assert_close(model(events.ids, events.values), expected)
    check_event_loss(model, logit, ["linear.weight", "embedding.weight"] + ["crosses.weight"] * bool(crosses))


@pytest.mark.parametrize(
    ("crosses", "message"),
    [([["user", "itm"]], "did you mean 'item'"), ([["user"]], "pairs of two"), ([["user", "user"]], "pairs of two")],
)
def test_crosses_that_cannot_be(crosses, message, events) -> None:
    with pytest.raises(ConfigError, match=message):
        WideDeep(events.field_dims, events.slots, NAMES, crosses=crosses)


@pytest.mark.parametrize("wide", ["ftrl", "adagrad"])
@pytest.mark.parametrize("tables", ["adam", "rowwise_adagrad"])
def test_the_wide_part_has_an_optimizer_of_its_own(wide, tables, ctr_model, click_step, events) -> None:
    """Its weights are moved by that alone, not by l2, and L1 makes them exactly 0; the rest is as without."""
    options = {"field_names": NAMES, "crosses": [["user", "item"]], "embedding_dim": 3, "hidden_dims": [4]}
    model, plain = (ctr_model(WideDeep, **options) for _ in range(2))
    learning = {"l2": 0.1, "l2_on": "batch", "table_optimizer": tables}
    own = {"wide_optimizer": wide, "wide_lr": 0.1, "wide_l1": 1e3}
    trainings = click_step(model, **learning, **own), click_step(plain, **learning)
    batch = CTRBatch(events.ids, events.values, torch.tensor([0.0, 1, 1, 0, 1]), None)
    for each in trainings:
        optimizer = each.configure_optimizers()
        each.training_step(batch, 0).backward()
        optimizer.step()
    touched = events.ids.unique().long()
    others = torch.tensor([row for row in range(model.num_rows) if row not in touched])
    assert (model.linear.weight[touched] == 0).all()
    assert (model.linear.weight[others] != 0).all()
    pairs = torch.zeros(model.index.num_rows, dtype=torch.bool)
    pairs[model.index(events.ids)] = True
    assert torch.equal(model.crosses.weight[:, 0] == 0, pairs)
    torch.testing.assert_close(model.embedding.weight, plain.embedding.weight)
    torch.testing.assert_close(model.mlp[0].weight, plain.mlp[0].weight)
