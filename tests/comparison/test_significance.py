"""The statistics of comparisons against scipy, against loops, and on tables with known answers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from recgnn.comparison.significance import bootstrap, differences, holm, paired


def of(**values: float) -> pd.Series:
    return pd.Series(values)


def test_a_user_is_paired_with_himself_and_counts_once() -> None:
    """Two test parts: a is in both (differences 1 and 3), b in one, c only in the other model's."""
    one = {"x": of(a=2, b=5), "y": of(a=4)}
    other = {"x": of(b=1, a=1, c=9), "y": of(a=1), "z": of(a=100)}
    assert differences(one, other).tolist() == [2, 4]
    assert not len(differences({"x": of(a=1)}, {"y": of(a=1)}))


def test_a_user_without_a_value_is_left_out() -> None:
    assert differences({"x": of(a=np.nan, b=3)}, {"x": of(a=1, b=1)}).tolist() == [2]


def test_the_tests_are_scipys() -> None:
    random = np.random.default_rng(0)
    one = random.normal(size=200)
    other = one + random.normal(0.1, 0.5, size=200)
    found = paired(one - other)
    assert found.difference == pytest.approx(one.mean() - other.mean())
    assert found.p_t == pytest.approx(stats.ttest_rel(one, other).pvalue)
    assert found.p_wilcoxon == pytest.approx(stats.wilcoxon(one, other).pvalue)
    assert found.users == 200


def test_t_by_hand() -> None:
    """Differences 1, 2, 3: mean 2, standard error 1 / sqrt(3), t = 3.4641 with 2 degrees of freedom: p = 0.0742."""
    assert paired(np.array([1.0, 2.0, 3.0])).p_t == pytest.approx(0.0742, abs=5e-5)


@pytest.mark.parametrize(
    ("values", "p"), [([0.0] * 9, 1.0), ([0.5] * 9, 0.0), ([0.5], np.nan), ([], np.nan)],
    ids=["none", "constant", "one user", "nobody"],
)  # fmt: skip
def test_what_scipy_would_warn_of(values, p, recwarn) -> None:
    found = paired(np.array(values))
    assert found.p_t == pytest.approx(p, nan_ok=True) and found.users == len(values)
    assert not len(recwarn)


def test_the_interval_is_that_of_the_mean() -> None:
    """For many values the bootstrap's interval is the normal one; it holds the mean, and is the same each time."""
    values = np.random.default_rng(1).exponential(size=5000)
    low, high = bootstrap(values)
    error = values.std(ddof=1) / np.sqrt(len(values))
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)
    assert bootstrap(values) == (low, high)


def test_the_interval_of_two_values_by_counting() -> None:
    """Means of two draws from 0 and 1 are 0, 0.5 and 1, a quarter of them 0 and a quarter 1."""
    assert bootstrap(np.array([0.0, 1.0])) == (0, 1)


def naive_holm(p: list[float]) -> list[float]:
    corrected = []
    for own in p:
        smaller = [x for x in p if x <= own]
        corrected.append(min(1.0, max((len(p) - sorted(p).index(x)) * x for x in smaller)))
    return corrected


def test_holm_by_hand() -> None:
    """0.01 * 4; 0.02 * 3; 0.03 * 2 (as large already); 0.04 -> not below 0.06. As R's p.adjust says."""
    assert holm([0.01, 0.04, 0.03, 0.02]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1, 1] and holm([]) == [] and holm([0.03]) == [0.03]
    assert holm([np.nan, 0.02, 0.5]) == pytest.approx([np.nan, 0.04, 0.5], nan_ok=True)


@pytest.mark.parametrize("seed", range(3))
def test_holm_is_a_loops(seed) -> None:
    p = (np.random.default_rng(seed).random(12) ** 4).tolist()
    assert holm(p) == pytest.approx(naive_holm(p))
