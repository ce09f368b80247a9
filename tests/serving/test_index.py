"""The search that reads a part of the items, against scoring all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from recgnn import load, models
from recgnn.data.interactions.graph import UserItems
from recgnn.errors import ConfigError
from recgnn.serving.filters import Filters

pytest.importorskip("faiss", reason="the extra index is not installed")
from recgnn.serving.index import ItemIndex  # noqa: E402

NUM_USERS, NUM_ITEMS = 40, 6000
SEEN = UserItems.from_pairs(torch.arange(NUM_USERS).repeat_interleave(300), torch.arange(300 * NUM_USERS) * 7 % 6000,
                            NUM_USERS)  # fmt: skip


@pytest.fixture(scope="module")
def model() -> models.MF:
    """Users and items about 50 centres, the items of different lengths, with biases."""
    make = torch.Generator().manual_seed(3)
    found = models.MF(NUM_USERS, NUM_ITEMS, 16, biases=True)
    centres = torch.randn(50, 16, generator=make)
    with torch.no_grad():
        for embedding, spread in ((found.user_embedding, 1), (found.item_embedding, torch.rand(NUM_ITEMS, 1) + 0.5)):
            size = embedding.weight.shape
            near = centres[torch.randint(50, size[:1], generator=make)] + 0.4 * torch.randn(size, generator=make)
            embedding.weight.copy_(near * spread)
        found.item_bias.copy_(torch.rand(NUM_ITEMS, generator=make))
    return found.eval()


@pytest.fixture(scope="module")
def index(model: models.MF) -> ItemIndex:
    return ItemIndex(model)


def by_scores(model: models.MF, user: int, hidden: set[int], k: int) -> list[int]:
    """The best items of a user in plain words: every score, sorted, less what is hidden."""
    user_vector = model.user_embedding.weight[user].detach().double()
    scores = model.item_embedding.weight.detach().double() @ user_vector + model.item_bias.detach().double()
    return [item for item in scores.argsort(descending=True).tolist() if item not in hidden][:k]


def blocked(items: Tensor) -> Tensor:
    found = torch.zeros(NUM_ITEMS, dtype=torch.bool)
    found[items] = True
    return found


BLOCKS = {"seen": None, "a third": torch.arange(0, NUM_ITEMS, 3), "all but 200": torch.arange(200, NUM_ITEMS),
          "all but 4": torch.arange(4, NUM_ITEMS)}  # fmt: skip


@pytest.mark.parametrize("block", BLOCKS)
def test_nearly_the_exact_lists_and_never_what_is_filtered_out(block: str, model, index) -> None:
    assert index.read < index.lists  # it reads a part
    items = BLOCKS[block]
    filters = Filters(None if items is None else blocked(items), None, SEEN)
    users, found = torch.arange(NUM_USERS), []
    scores, rows = index.best(users, 20, filters)
    for user, own_scores, own in zip(users.tolist(), scores, rows.tolist(), strict=True):
        hidden = {*SEEN.of(torch.tensor([user]))[1].tolist(), *([] if items is None else items.tolist())}
        there = [item for item, score in zip(own, own_scores.tolist(), strict=True) if score > -torch.inf]
        expected = by_scores(model, user, hidden, 20)
        assert len({*there}) == len(there) == len(expected) and not {*there} & hidden
        assert own_scores.tolist() == sorted(own_scores.tolist(), reverse=True)
        torch.testing.assert_close(own_scores[: len(there)], model.score(torch.tensor([user]))[0, there])
        found.append(np.isin(expected, there).mean() if expected else 1.0)
    assert np.mean(found) > 0.93
    if block.startswith("all but"):  # too few to leave any out
        assert np.mean(found) == 1


def test_what_it_finds_is_told_as_it_is(model, index) -> None:
    users = np.linspace(0, NUM_USERS - 1, NUM_USERS).astype(int)
    _, rows = index.best(torch.from_numpy(users), 100, Filters())
    recall = np.mean([np.isin(by_scores(model, u, set(), 100), own).mean() for u, own in zip(users, rows, strict=True)])
    assert f"reads {index.read}: {recall:.2%} of the exact 100 best items of 40 users" in index.told and recall >= 0.95
    assert ItemIndex(model, recall=1.0).told.endswith("100.00% of the exact 100 best items of 40 users")


def test_a_run_recommends_by_it(tiny_run: Path) -> None:
    exact, run = load(tiny_run), load(tiny_run)
    assert "40 items in 1 lists" in run.use_index()
    asked = [5, 999, 3, 61]
    for options in ({}, {"k": 3, "exclude_seen": "none"}, {"candidates": [1, 2, 3, 30]}, {"exclude": [7], "k": 40}):
        expected = exact.recommend(asked, fallback="popularity", **options)
        found = run.recommend(asked, fallback="popularity", **options)
        assert found["item"].tolist() == expected["item"].tolist()
        assert found["score"].tolist() == pytest.approx(expected["score"].tolist(), abs=1e-5)


def test_models_without_vectors_are_refused(make_run, synthetic, tmp_path: Path) -> None:
    run = load(make_run(tmp_path / "ease", synthetic(), "EASE", {}, epochs=1))
    with pytest.raises(ConfigError, match="EASE has no representations of users and items"):
        run.use_index()
    assert run.index is None and len(run.recommend(5, k=3)) == 3
