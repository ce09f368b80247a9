"""The polynomial of degree 2 against the double sum, with a weight for each pair and with hashed ones."""

from __future__ import annotations

import pytest
import torch

from recgnn.models import Poly2
from recgnn.nn.interaction import hashed


@pytest.mark.parametrize("max_crosses", [4096, 50])
def test_logit_loss_and_gradient(max_crosses, ctr_model, events, check_event_loss) -> None:
    model = ctr_model(Poly2, max_crosses=max_crosses)
    assert model.index.exact == (max_crosses == 4096)
    w, crosses = model.linear.weight, model.crosses.weight
    own: dict[frozenset, int] = {}

    def row(a: int, b: int) -> int:
        if not model.index.exact:
            low, high = min(a, b), max(a, b)  # fields come in order, so that this is also left and right
            return int(hashed(torch.tensor(low), torch.tensor(high))) % max_crosses
        return own[frozenset((a, b))]

    def logit(ids: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        ids, values = ids.tolist(), values.tolist()
        total = model.bias + sum(w[i, 0] * x for i, x in zip(ids, values, strict=True))
        for a in range(len(ids)):
            for b in range(a + 1, len(ids)):
                total = total + crosses[row(ids[a], ids[b]), 0] * values[a] * values[b]
        return total

    if model.index.exact:  # the rows are as they are found, and each pair of values must have one of its own
        found = model.index(events.ids)
        for ids, rows in zip(events.ids.tolist(), found.tolist(), strict=True):
            pairs = [frozenset((ids[a], ids[b])) for a in range(6) for b in range(a + 1, 6)]
            for pair, at in zip(pairs, rows, strict=True):
                assert own.setdefault(pair, at) == at
        assert len(set(own.values())) == len(own) and max(own.values()) < model.index.num_rows
    expected = torch.stack([logit(i, x) for i, x in zip(events.ids, events.values, strict=True)])
    torch.testing.assert_close(model(events.ids, events.values), expected)
    check_event_loss(model, logit, ["linear.weight", "crosses.weight"])


def test_hashes_are_spread_and_fixed() -> None:
    left, right = torch.arange(300).repeat_interleave(300), torch.arange(300).repeat(300)
    buckets = torch.bincount(hashed(left, right) % 1000, minlength=1000)
    assert buckets.min() > 40 and buckets.max() < 160  # 90 each on average
    assert hashed(torch.tensor([1, 2, 3]), torch.tensor([4, 5, 6])).tolist() == HASHES


def _python(left: int, right: int) -> int:
    x = (left * 0x9E3779B1 + right * 0x85EBCA77 + 0x165667B1) % 2**32
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = ((x ^ (x >> shift)) * factor) % 2**32
    return (x ^ (x >> 16)) % 2**31


HASHES = [_python(1, 4), _python(2, 5), _python(3, 6)]


def test_a_step_moves_a_logit_no_further_the_more_pairs_there_are() -> None:
    for fields, rate in ((8, 0.01), (40, 0.5 / (40 + 780))):
        model = Poly2([3] * fields)
        assert model.usual_lr == pytest.approx(rate)
        optimizer = torch.optim.Adam(model.parameters(), lr=model.usual_lr)
        ids = 3 * torch.arange(fields)[None]
        before = model(ids)
        before.sum().backward()
        optimizer.step()
        assert (model(ids) - before).abs() < 0.55
