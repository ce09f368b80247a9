"""What a log means: generated logs and events, read by recgnn and by plain loops. RECGNN_FAULTS sets how many."""

from __future__ import annotations

import os
import random

import pytest

from tests.faults import meaning

CASES = int(os.environ.get("RECGNN_FAULTS", 12))


@pytest.mark.parametrize("name", meaning.CASES)
def test_a_generated_log_means_what_was_written(name, tmp_path) -> None:
    for number in range(CASES):
        folder = tmp_path / str(number)
        folder.mkdir()
        verdict = meaning.case(random.Random(f"{name}:{number}"), folder, name)
        assert verdict.outcome == "right", verdict.what


def test_another_meaning_is_noticed() -> None:
    rows = [{"user": user, "item": item, "t": time, "weight": 1.0} for user, item, time in ("ab1", "ab2", "ac3", "bb1")]
    with pytest.raises(meaning.Wrong):
        meaning.same(len(meaning.one_of_each(rows, "last")), 4, "one row of each pair")
    assert meaning.sizes(10, (0.8, 0.1, 0.1)) == (8, 1, 1) and meaning.sizes(2, (0.8, 0.1, 0.1)) == (1, 0, 1)
