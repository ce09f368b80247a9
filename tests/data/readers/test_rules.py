"""Rules about rows, against conditions written in Python."""

import numpy as np
import pandas as pd
import pytest

from recgnn.data.readers.rules import Rule
from recgnn.errors import ConfigError, DataError

FRAME = pd.DataFrame({
    "kind": ["buy", "view", None, "buy"], "price": [1.5, 4.0, 9.0, 20.0], "rating": np.float32([4.1, 3, 5, 1]),
    "code": ["7", "07", "7.0", "x"], "count": [1, 2, 3, 4],
})  # fmt: skip


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("kind == 'buy'", [0, 3]),
        ('kind != "buy"', [1, 2]),  # a row without a kind is no purchase
        ("kind == buy and price < 10", [0]),
        ("rating >= 4.1", [0, 2]),  # though 4.1 is more than single precision's
        ("count == 2", [1]),
        ("count != 2", [0, 2, 3]),
        ("price > -1e3", [0, 1, 2, 3]),
        ("code == 7", [0]),
        ("code == 'x'", [3]),
    ],
)
def test_which_rows_are_meant(text: str, rows: list[int]) -> None:
    assert np.flatnonzero(Rule(text, "keep").mask(FRAME)).tolist() == rows


@pytest.mark.parametrize("text", ["", "kind", "kind = 'buy'", "kind > 'buy'", "kind == 'a' or kind == 'b'", ">= 4"])
def test_what_is_no_rule(text: str) -> None:
    with pytest.raises(ConfigError, match="keep: "):
        Rule(text, "keep")


def test_a_column_that_is_not_there_and_a_number_that_is_none() -> None:
    with pytest.raises(DataError, match="positive: no column 'ratings' .did you mean 'rating'"):
        Rule("ratings >= 4", "positive").mask(FRAME)
    with pytest.raises(DataError, match="row 3, column 'kind': 'w'; expected a number, for keep: kind > 4"):
        Rule("kind > 4", "keep").mask(pd.DataFrame({"kind": ["1", "5", "w"]}))
