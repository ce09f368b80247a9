"""The look at single fields before training: what is named, and what is not, whatever kind the field is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recgnn.data import CTRDataModule, EventTable
from recgnn.data.clicks.screen import single_auc
from recgnn.fit import main

KINDS = {
    "who": "categorical", "day": "categorical", "after": "categorical", "seconds": "numeric", "amount": "numeric",
    "tags": "multi", "when": {"kind": "time", "parts": ["hour", "weekday"]}, "hashed": {"buckets": 50},
}  # fmt: skip


def clicks(n: int = 2000, noise: float = 0.005) -> pd.DataFrame:
    """Events of which four columns are written after the click, but for a few rows; `who` is another in each."""
    random = np.random.default_rng(0)
    label = random.integers(0, 2, n)
    told = np.where(random.random(n) < noise, 1 - label, label)
    return pd.DataFrame({
        "label": label, "who": np.arange(n), "day": random.integers(0, 7, n),
        "after": np.where(told == 1, "bought", random.choice(["seen", ""], n)),
        "seconds": np.where(told == 1, random.lognormal(2, 1, n), np.where(random.random(n) < 0.5, 0.0, np.nan)),
        "amount": random.lognormal(size=n) + 0.3 * label,
        "tags": np.where(told == 1, "x|y", "y|z"), "hashed": np.where(told == 1, "a", "b"),
        "when": 1_700_000_000 + 3600 * (6 * told + random.integers(0, 6, n)) // 1 * 1,
    })  # fmt: skip


def noted(frame: pd.DataFrame, tmp_path, **options) -> list[str]:
    frame.to_parquet(tmp_path / "x.parquet")
    data = CTRDataModule(EventTable(tmp_path / "x.parquet"), fields=KINDS, cache_dir=str(tmp_path), **options)
    return [line for line in data.describe("clicks").splitlines() if "alone" in line]


def test_fields_that_follow_from_the_label_are_named(tmp_path) -> None:
    lines = noted(clicks(), tmp_path)
    assert [line.split()[2] for line in lines] == ["after", "seconds", "tags", "when.hour", "hashed"]
    assert all("has AUC 0.99: is it known before the click?" in line or "AUC 1.00" in line for line in lines)
    assert noted(clicks(), tmp_path, screen=False) == []


def test_nothing_is_said_of_few_events_or_of_weaker_fields(tmp_path) -> None:
    assert noted(clicks(noise=0.06), tmp_path) == []
    few = clicks()
    few = pd.concat([few[few["label"] == 0], few[few["label"] == 1].iloc[:90]])
    assert noted(few.sample(frac=1, random_state=0), tmp_path) == []


@pytest.mark.parametrize("sampled", [True, False])
def test_what_is_asked_of_sampled_events(sampled, tmp_path) -> None:
    """A few popular items against many that are taken once: the item alone tells what was sampled."""
    random = np.random.default_rng(0)
    items = np.r_[random.integers(0, 2, 9000), np.arange(2, 100)]
    frame = pd.DataFrame({"user": np.arange(len(items)), "item": items, "label": 1})
    frame.to_csv(tmp_path / "x.csv", index=False)
    more = {"negatives": 1, "fields": {"item": "categorical"}}
    if not sampled:
        more = {"fields": {"item": "categorical"}}
        frame.assign(label=frame["item"] % 2).to_csv(tmp_path / "x.csv", index=False)
    text = CTRDataModule(EventTable(tmp_path / "x.csv"), cache_dir=str(tmp_path), **more).describe("clicks")
    assert ("popularity tells sampled events from real ones" in text) == sampled
    assert ("is it known before the click" in text) == (not sampled)


def test_the_auc_of_a_field_by_a_loop() -> None:
    """Naive Bayes by hand: log-odds of one half, the chance that a positive of the other half is ahead."""
    random = np.random.default_rng(3)
    ids, values = random.integers(0, 5, (60, 2)), random.choice([0.0, 0.5, 1.0], (60, 2))
    label, half = random.integers(0, 2, 60).astype(np.float32), random.random(60) < 0.5
    rate = label[half].mean()
    scores = []
    for event in np.flatnonzero(~half):
        score = 0.0
        for value, x in zip(ids[event], values[event], strict=True):
            seen = [e for e in np.flatnonzero(half) for s in (0, 1) if ids[e, s] == value and values[e, s]]
            ones = sum(label[e] for e in seen)
            score += x * np.log((ones + rate) / (len(seen) - ones + 1 - rate)) if x else 0.0
        scores.append(round(float(score), 9))
    own = label[~half]
    wins = [(a > b) + (a == b) / 2 for a, y in zip(scores, own, strict=True) if y
            for b, z in zip(scores, own, strict=True) if not z]  # fmt: skip
    assert single_auc(ids, values, label, half) == pytest.approx(np.mean(wins), abs=2e-3)


def test_screen_is_an_option_of_fit(tmp_path, capsys) -> None:
    conf = Path(__file__).parents[3] / "conf" / "lr.yaml"
    for words in (["--screen", "false"], ["--screen=false"]):
        with pytest.raises(SystemExit):
            main(["--config", str(conf), *words, "--print_config"])
        assert "screen: false" in capsys.readouterr().out
