"""When a trial is given up, against what W&B's own documentation and engine say of hyperband."""

from __future__ import annotations

import random

import pytest

optuna = pytest.importorskip("optuna")

from recgnn.search.pruning import Bands  # noqa: E402


@pytest.mark.parametrize(
    ("options", "bands"),
    [
        ({"min_iter": 3}, [3, 9, 27, 81]),  # eta is 3 by default
        ({"min_iter": 8, "eta": 2}, [8, 16, 32, 64]),
        ({"max_iter": 27, "s": 2}, [3, 9]),  # as in W&B's documentation
        ({"max_iter": 5, "eta": 2, "s": 2}, [1, 2]),
        ({"max_iter": 5, "eta": 2, "s": 4}, [1, 2]),
    ],
)
def test_where_it_looks(options, bands):
    assert Bands(**options).bands[: len(bands)] == bands
    assert "s" not in options or len(Bands(**options).bands) == len(bands)


def test_the_case_of_wandbs_engine():
    """The example in the documentation of `sweeps.hyperband_stop_runs`: of b, c and d, b is stopped."""
    histories = {"a": [10, 9], "b": [10, 10], "c": [10, 8, 8], "d": [10, 7, 7], "e": [10, 6, 6]}
    bands = Bands(max_iter=5, eta=2, s=2)
    stopped = {name for name in "bcd" if bands.falls_behind(histories[name], list(histories.values()))}
    assert stopped == {"b"}


def naive(history: list[float], everyone: list[list[float]], eta: int, first: int) -> bool:
    """Whether fewer than 1/eta of those who came to the last look are as good as the best so far."""
    look = first
    while look * eta <= len(history):
        look *= eta
    if len(history) < look:
        return False
    there = [h[look - 1] for h in everyone if len(h) >= look]
    better = sum(value < min(history) for value in there)
    return better > len(there) // eta


def test_against_a_count_of_those_who_are_better():
    draw = random.Random(3)
    answers = set()
    for _ in range(300):
        everyone = [[draw.random() for _ in range(draw.randint(1, 20))] for _ in range(draw.randint(1, 9))]
        for eta in (2, 3):
            found = Bands(min_iter=2, eta=eta).falls_behind(everyone[-1], everyone)
            assert found == naive(everyone[-1], everyone, eta, 2)
            answers.add(found)
    assert answers == {True, False}


def test_strict_goes_by_the_value_at_the_look():
    histories = [[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]]
    assert not Bands(min_iter=2, eta=3).falls_behind(histories[0], histories)  # its best, 1, is the best there is
    assert Bands(min_iter=2, eta=3, strict=True).falls_behind(histories[0], histories)


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_it_gives_up_a_trial_of_a_study(direction):
    study = optuna.create_study(direction=direction, pruner=Bands(min_iter=2, eta=2))
    sign = 1 if direction == "maximize" else -1

    def trained(values: list[float]) -> list[bool]:
        trial, answers = study.ask(), []
        for epoch, value in enumerate(values, 1):
            trial.report(sign * value, epoch)
            answers.append(trial.should_prune())
        study.tell(trial, sign * values[-1])
        return answers

    assert trained([0.1, 0.5, 0.6]) == [False] * 3  # nobody to compare with
    assert trained([0.1, 0.6, 0.7]) == [False] * 3
    assert trained([0.9, 0.1, 0.1]) == [False] * 3  # its best so far counts
    assert trained([0.01, 0.05, 0.05]) == [False, True, True]
