"""What the rows of a log mean: repeats, given parts, positives, weights; on logs whose answers are known by hand."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from lightning import Trainer

from recgnn.data import Deduplicate, FrameLog, GivenSplit, GraphDataModule, KCore, RatioSplit, TemporalSplit
from recgnn.data.interactions.filters import Where
from recgnn.data.interactions.log import Source
from recgnn.data.interactions.prepare import PreparedLog, compute
from recgnn.errors import ConfigError, DataError
from recgnn.models import DAE, MF
from recgnn.nn.losses import BPR
from recgnn.training.recommenders import RankingTraining, RatingTraining


def pairs(prepared: PreparedLog, part: str) -> list[tuple]:
    rows = getattr(prepared, part)
    return sorted(zip(prepared.users.decode(rows.user), prepared.items.decode(rows.item), strict=True))


def shop(again: bool = True) -> pd.DataFrame:
    """40 users buy four items before 100, their first item again at 150, and a new one from 160 on."""
    rows = []
    for u in range(40):
        rows += [(u, (u + k) % 12, 10 + k) for k in range(4)]
        rows += [(u, u % 12, 150)] * again + [(u, (u + 5) % 12, 160 + u)]
    return pd.DataFrame(rows, columns=["user", "item", "timestamp"])


def dropped(prepared: PreparedLog) -> dict[str, int]:
    return {d["step"]: d["rows"] for d in prepared.summary["dropped"]}


def test_a_second_purchase_leaves_the_first_one_in_train() -> None:
    log, split = FrameLog(shop()), TemporalSplit(val_start=100, test_start=155)
    prepared = compute(log, [], split)
    before = shop()[lambda f: f.timestamp < 100]
    assert pairs(prepared, "train") == sorted(zip(before.user, before.item, strict=True)) and len(prepared.train) == 160
    assert len(prepared.val) == 0 and len(prepared.test) == 40
    assert dropped(prepared) == {"val labels that are known from train": 40}
    assert prepared.summary["warnings"] == ["no label is left in the val part"]
    kept = compute(log, [], split, repeats="keep")
    assert (len(kept.train), len(kept.val), len(kept.test)) == (160, 40, 40)


@pytest.mark.parametrize("split", [RatioSplit((0.6, 0.2, 0.2), order="time"), RatioSplit((0.6, 0.2, 0.2), by="all")])
def test_no_label_is_known_before_whatever_the_split(split: RatioSplit) -> None:
    prepared = compute(FrameLog(shop()), [], split)
    train, val, test = (set(pairs(prepared, part)) for part in ("train", "val", "test"))
    assert not train & val and not (train | val) & test
    assert all(len(pairs(prepared, part)) == len(set(pairs(prepared, part))) for part in ("train", "val", "test"))


def test_within_a_part_the_last_rating_counts_and_the_weights_add_up() -> None:
    rows = [("a", 1, 5.0, 1, 2.0), ("a", 1, 3.0, 2, 0.5), ("b", 2, 4.0, 3, 1.0), ("a", 2, 1.0, 4, 1.0),
            ("a", 1, 2.0, 60, 9.0), ("b", 1, 2.0, 60, 1.0), ("b", 1, 1.0, 61, 1.0)]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["user", "item", "rating", "timestamp", "weight"])
    prepared = compute(FrameLog(frame), [], TemporalSplit(test_start=50))
    assert prepared.train.rating.tolist() == [3, 4, 1] and prepared.train.weight.tolist() == [2.5, 1, 1]
    assert pairs(prepared, "test") == [("b", 1)] and prepared.test.rating.tolist() == [1]
    first = compute(FrameLog(frame), [Deduplicate("first")], TemporalSplit(test_start=50))
    assert first.train.rating.tolist() == [5, 4, 1] and first.test.rating.tolist() == [2]


def test_given_parts_stay_as_given() -> None:
    train = [(u, (u + k) % 15, "train") for u in range(30) for k in range(5)]
    test = [(u, i % 15, "test") for u in range(30) for i in (u, u + 7, u + 7)]
    frame = pd.DataFrame(train + test, columns=["user", "item", "split"])
    prepared = compute(FrameLog(frame), [], GivenSplit(val="test"))
    assert pairs(prepared, "train") == sorted((u, i) for u, i, _ in train)
    assert pairs(prepared, "test") == sorted((u, (u + 7) % 15) for u in range(30))
    assert dropped(prepared)["test labels that are known from train and val"] == 30


@pytest.mark.parametrize("filters", [[KCore(3, 1)], [KCore(3, 1), Deduplicate()], [Deduplicate(), KCore(3, 1)]])
@pytest.mark.parametrize("split", [RatioSplit(), RatioSplit(order="time")])
def test_the_core_counts_different_items_whatever_the_order(filters: list, split: RatioSplit) -> None:
    rows = [("few", i, t) for t, i in enumerate([1, 1, 1, 2])] + [
        (u, (i + n) % 5, i) for n, u in enumerate("abc") for i in range(5)
    ]
    prepared = compute(FrameLog(pd.DataFrame(rows, columns=["user", "item", "timestamp"])), filters, split)
    assert sorted(prepared.users.ids) == ["a", "b", "c"]


# ---- which rows are positives


def rated(*ratings: float) -> Source:
    return FrameLog(pd.DataFrame({
        "user": [u for u in range(6) for _ in ratings], "item": [*range(len(ratings))] * 6, "rating": [*ratings] * 6,
    }))  # fmt: skip


def test_ratings_below_zero_need_a_rule() -> None:
    data = GraphDataModule(rated(-1, -1, 1, 1, 1, 0))
    with pytest.raises(DataError, match="ratings go from -1 to 1.*set --data.positive 'rating > 0', or all"):
        data.describe("ranking")
    training = RankingTraining(MF(data.num_users, data.num_items, 2), ks=[2])
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    with pytest.raises(DataError, match="which rows are positives"):
        Trainer(accelerator="cpu", max_epochs=1, enable_model_summary=False, **options).fit(training, data)
    assert "density" in data.describe("rating")  # they are ratings, and nothing needs a rule
    assert "every row counts as positive" in GraphDataModule(rated(-1, -1, 1, 1, 1), positive="all").describe("ranking")


def test_a_rule_says_what_counts() -> None:
    data = GraphDataModule(rated(1, 2, 3, 4, 5), positive="rating >= 3", split=RatioSplit((0.4, 0.3, 0.3), seed=3))
    assert min(data.prepared.train.rating) == 3
    assert "positive are rows with rating >= 3" in data.describe("ranking")
    assert dropped(data.prepared)["no positives (positive: rating >= 3)"] == 12
    told = GraphDataModule(rated(1, 2, 3, 4, 5)).describe("ranking")
    assert "ratings 1 to 5: every row counts as positive (--data.positive 'rating >= 4' says otherwise)" in told
    assert "positive" not in GraphDataModule(rated(1, 2, 3, 4, 5)).describe("rating")


def test_rules_of_rankings_are_refused_for_ratings() -> None:
    data = GraphDataModule(rated(1, 2, 3, 4, 5), positive="rating >= 3", split=RatioSplit((0.4, 0.3, 0.3), seed=3))
    training = RatingTraining(MF(data.num_users, data.num_items, 2))
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    with pytest.raises(ConfigError, match="positive, and repeats: keep, are for rankings"):
        Trainer(accelerator="cpu", max_epochs=1, enable_model_summary=False, **options).fit(training, data)


def test_rows_of_one_kind() -> None:
    frame = pd.DataFrame({"user": [1, 1, 2, 2, 2], "item": [1, 2, 1, 2, 3], "kind": ["buy", "pv", "buy", "buy", "pv"]})
    assert Where("kind == 'buy'").apply(frame).index.tolist() == [0, 2, 3]


# ---- weights


def weighted() -> GraphDataModule:
    rows = [(u, i, 1.0 + (u * 7 + i) % 4) for u in range(8) for i in range(9) if (u + i) % 3]
    log = FrameLog(pd.DataFrame(rows, columns=["who", "item", "plays"]), user="who", weight="plays")
    data = GraphDataModule(log, split=RatioSplit((0.8, 0.0, 0.2)), batch_size=16)
    data.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    data.setup("fit")
    return data


def test_each_positive_counts_by_its_weight() -> None:
    data = weighted()
    training = RankingTraining(MF(data.num_users, data.num_items, 3), BPR(), l2=0.0, ks=[2])
    data.request, training.log = training.request, lambda *_, **__: None
    known = {(u, i): w for u, i, w in zip(*data.pairs("train"), data.prepared.train.weight, strict=True)}
    known = {(int(u), int(i)): float(w) for (u, i), w in known.items()}
    mean = sum(known.values()) / len(known)
    for batch in data.train_dataloader():
        tables = training.model.user_embedding, training.model.item_embedding
        user, item = (table.weight.detach().double() for table in tables)
        total = 0.0
        for u, i, j in zip(batch.users.tolist(), batch.positives.tolist(), batch.negatives[:, 0].tolist(), strict=True):
            margin = user[u] @ (item[i] - item[j])
            total -= known[u, i] / mean * float(torch.log(torch.sigmoid(margin)))
        assert training.training_step(batch, 0).item() == pytest.approx(total / len(batch.users), rel=1e-5)


@pytest.mark.parametrize("loss", ["Logistic", "Squared", "Multinomial"])
def test_each_one_of_a_row_counts_by_its_weight(loss: str) -> None:
    """A whole weight counts as that many ones in the dense formula."""
    from recgnn.nn import losses

    scores = torch.randn(2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    rows, columns, weights = torch.tensor([0, 0, 1]), torch.tensor([1, 3, 2]), torch.tensor([2.0, 1.0, 3.0]).double()
    found = getattr(losses, loss)()(scores, rows, columns, weights=weights)
    count = torch.zeros(2, 4, dtype=torch.float64)
    count[rows, columns] = weights
    one = {
        "Logistic": -torch.log(torch.sigmoid(scores)),
        "Squared": (1 - scores) ** 2,
        "Multinomial": -torch.log_softmax(scores, 1),
    }[loss]
    zero = {"Logistic": -torch.log(1 - torch.sigmoid(scores)), "Squared": scores**2, "Multinomial": 0 * scores}[loss]
    expected = (count * one + (count == 0) * zero).sum() / 2
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*(torch.autograd.grad(x, scores)[0] for x in (found, expected)))


def test_weights_reach_rows_and_ratings() -> None:
    data = weighted()
    training = RankingTraining(DAE(data.num_users, data.num_items, [4]), ks=[2])
    data.request = training.request
    pairs = zip(*(x.tolist() for x in data.pairs("train")), strict=True)
    by_pair = dict(zip(pairs, data.weights("train").tolist(), strict=True))
    for batch in data.train_dataloader():
        users = batch.rows[batch.place].tolist()
        assert batch.weights.tolist() == [by_pair[pair] for pair in zip(users, batch.columns.tolist(), strict=True)]
    assert data.weights("train").mean().item() == pytest.approx(1)


def test_a_loss_of_one_number_takes_no_weights() -> None:
    class Whole(BPR):
        def forward(self, *args) -> torch.Tensor:
            return super().forward(*args).mean()

    data = weighted()
    training = RankingTraining(MF(data.num_users, data.num_items, 3), loss=Whole(), ks=[2])
    data.request = training.request
    with pytest.raises(ConfigError, match="rows have weights, and the loss gives one number"):
        training.training_step(next(iter(data.train_dataloader())), 0)


@pytest.mark.parametrize("weights", [[1, -1, 1], [0, 0, 0], [1, float("inf"), 1], [1, None, 1]])
def test_weights_that_cannot_be(weights: list) -> None:
    frame = pd.DataFrame({"user": [1, 2, 3], "item": [1, 2, 3], "weight": weights})
    with pytest.raises(DataError, match="column 'plays': .*expected"):
        FrameLog(frame.rename(columns={"weight": "plays"}), weight="plays").read()


# ---- repeats that count


def test_new_and_repeated_labels_are_measured_apart() -> None:
    """Two users, three items; what they have is ranked too, and may be the label."""
    rows = [(0, 0, "train"), (0, 0, "train"), (0, 1, "train"), (1, 2, "train"), (0, 0, "test"), (0, 2, "test"),
            (1, 2, "test")]  # fmt: skip
    log = FrameLog(pd.DataFrame(rows, columns=["user", "item", "split"]))
    data = GraphDataModule(log, split=GivenSplit(val=0), repeats="keep")
    assert len(data.prepared.train) == 4 and data.edge_index.T.tolist() == [[0, 0], [0, 1], [1, 2]]
    training = RankingTraining(MF(2, 3, 1), ks=[1], metrics=["recall", "hitrate"])
    with torch.no_grad():
        training.model.user_embedding.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        training.model.item_embedding.weight.copy_(torch.tensor([[3.0], [2.0], [1.0]]))
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    (found,) = trainer.test(training, data, verbose=False)
    # user 0 is shown item 0, which is a repeated label; user 1 item 2, likewise; user 0's new label, item 2, is missed
    assert found["test/recall@1"] == pytest.approx((1 / 2 + 1) / 2)
    assert found["test/repeated_recall@1"] == 1 and found["test/new_recall@1"] == 0
