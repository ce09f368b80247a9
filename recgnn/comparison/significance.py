"""Significance of the difference between two models, over users.

The unit is the user: its value is the mean over the runs of a model, and two models are compared on the users that both
were tested on. For each model against a reference:

- the paired t-test of the mean difference, which for means of many users agrees with the bootstrap and with Fisher's
  randomisation test (`Smucker, Allan and Carterette, 2007 <https://doi.org/10.1145/1321440.1321528>`_);
- Wilcoxon's signed-rank test beside it, for those who want it; it asks another question, of ranks, and that paper
  advises against it;
- a 95 % interval of the mean difference by the percentile bootstrap over users (`Sakai, 2006
  <https://doi.org/10.1145/1148170.1148261>`_).

The p-values of a table are corrected for their number (`Holm, 1979 <https://www.jstor.org/stable/4615733>`_). They tell
of other users of the same data set, not of other data sets, and a reference that was
chosen because it is the best of the table looks a little better than it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

LEVEL = 0.05
RESAMPLES, FEWEST, DRAWS = 2000, 200, 10**8


class Paired(NamedTuple):
    """A model against a reference: mean difference over users, its 95 % interval, p-values, the number of users."""

    difference: float
    low: float
    high: float
    p_t: float
    p_wilcoxon: float
    users: int


def differences(one: Mapping[str, pd.Series], other: Mapping[str, pd.Series]) -> np.ndarray:
    """Return the difference of each user's values: [n].

    Args:
        one: values by user, for each test part; NaN for a user without one.
        other: those of the reference. Users and parts that only one of them has are left out.
    """
    parts = [(one[part] - other[part]).dropna() for part in one if part in other]
    return pd.concat(parts).groupby(level=0).mean().to_numpy() if parts else np.zeros(0)


def paired(difference: np.ndarray, seed: int = 0) -> Paired:
    """Run both tests and the bootstrap on users' differences [n]; NaN for fewer than two users."""
    n = len(difference)
    mean = float(difference.mean()) if n else np.nan
    if n < 2:
        return Paired(mean, np.nan, np.nan, np.nan, np.nan, n)
    if not difference.any():
        return Paired(0.0, 0.0, 0.0, 1.0, 1.0, n)
    low, high = bootstrap(difference, seed)
    constant = np.ptp(difference) <= 1e-9 * abs(mean)  # t is infinite
    p_t = 0.0 if constant else float(stats.ttest_1samp(difference, 0).pvalue)
    return Paired(mean, low, high, p_t, float(stats.wilcoxon(difference).pvalue), n)


def bootstrap(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % interval of the mean of values [n] by resampling them, with fewer resamples for very many."""
    number, batch = int(np.clip(DRAWS // len(values), FEWEST, RESAMPLES)), max(1, 2**22 // len(values))
    options = {"n_resamples": number, "batch": batch, "random_state": np.random.default_rng(seed)}
    interval = stats.bootstrap((values,), np.mean, method="percentile", **options).confidence_interval
    return float(interval.low), float(interval.high)


def holm(p: Sequence[float]) -> list[float]:
    r"""Correct m p-values by Holm's step-down method.

    In ascending order, each becomes the largest of :math:`(m - j + 1) p_{(j)}` up to its place, at most 1. NaN stays
    and does not count.
    """
    found, known = np.full(len(p), np.nan), np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(np.asarray(p, dtype=float)[known], kind="stable")]
    steps = (len(order) - np.arange(len(order))) * np.asarray(p, dtype=float)[order]
    found[order] = np.minimum(np.maximum.accumulate(steps), 1) if len(order) else []
    return found.tolist()
