"""What values, and the labels of a sample of train, say of a column: times, names, or numbers whose order counts?"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import pandas as pd

from recgnn.data.readers.origin import Origin, shown
from recgnn.data.readers.times import Finder
from recgnn.data.readers.values import as_text
from recgnn.errors import DataError

SAMPLE = 2**17  # events that are looked at
LEAST = 200  # events, and a tenth as many of the rarer label, to say anything
BINS = (4, 8, 16, 32, 64)
PRIORS = (2.0, 10.0, 50.0, 250.0)  # events of the mean label that the rate of a value or of a bin is mixed with
SURE = 3.0  # standard errors
FAR = 10.0  # standard deviations from the mean that a number may have as it is


class Evidence(NamedTuple):
    """How a column of numbers predicts the label of one half of a sample, learnt from the other half.

    Args:
        names: Whether a rate for each value plainly predicts better than the mean and than a rate for each bin.
        order: Whether a rate for each bin plainly predicts better than the mean and than a rate for each value.
        bins: How many bins predict best; 16 where none plainly better than the mean.
        logarithm: Whether a line through the logarithms predicts better than one through the numbers, or a number lies
            so far out that the line cannot be trusted.
        binned: Whether bins predict plainly better than the better line, or the line is plainly no better than the
            mean, so that more than a line may be needed beside other fields.
    """

    names: bool
    order: bool
    bins: int
    logarithm: bool
    binned: bool


def evidence_of(numbers: np.ndarray, labels: np.ndarray) -> Evidence | None:
    """Compare, by squared error, what values, bins and lines tell of labels; None where there are too few.

    Args:
        numbers: Finite numbers, [n].
        labels: Of the same events, [n]: 0 or 1, or any numbers.
    """
    random = np.random.default_rng(0)
    if len(numbers) > SAMPLE:
        rows = np.sort(random.choice(len(numbers), SAMPLE, replace=False))
        numbers, labels = numbers[rows], labels[rows]
    labels = labels.astype(np.float64)
    often = np.unique(labels, return_counts=True)[1]
    if len(numbers) < LEAST or len(often) < 2 or (len(often) == 2 and often.min() < LEAST / 10):
        return None
    half = random.permutation(len(numbers)) % 2 == 0
    values = np.unique(numbers, return_inverse=True)[1]
    parts = {count: parts_of(numbers, count) for count in BINS}
    by_value = _least(_by_code(values, labels, half))
    by_bins = {count: _least(_by_code(code, labels, half)) for count, code in parts.items()}
    bins = min(by_bins, key=lambda count: by_bins[count].sum())
    scaled = (numbers - numbers.mean()) / max(float(numbers.std()), 1e-300)
    logs = np.sign(numbers) * np.log1p(np.abs(numbers))
    plain, log = (_by_line(x, labels, half) for x in (scaled, logs))
    logarithm = bool(np.abs(scaled).max() > FAR or sure(plain, log) > SURE)
    line, ordered, nothing = log if logarithm else plain, by_bins[bins], _mean(labels, half)
    names = min(sure(ordered, by_value), sure(nothing, by_value)) > SURE
    order = min(sure(by_value, ordered), sure(nothing, ordered)) > SURE
    binned = sure(line, ordered) > SURE or sure(nothing, line) < SURE
    return Evidence(names, order, bins if sure(nothing, ordered) > SURE else 16, logarithm, binned)


def parts_of(numbers: np.ndarray, count: int) -> np.ndarray:
    """Return the part of each number among `count` of about equally many, [n]."""
    edges = np.unique(np.quantile(numbers, np.arange(1, count) / count))
    return np.searchsorted(edges, numbers, side="right")


def sure(worse: np.ndarray, better: np.ndarray) -> float:
    """Return by how many standard errors the first errors are larger than the second, both [n]."""
    gap = worse - better
    return float(gap.sum() / max(gap.std() * np.sqrt(len(gap)), 1e-12))


def _least(errors: Iterable[np.ndarray]) -> np.ndarray:
    return min(errors, key=lambda own: float(own.sum()))


def _by_code(codes: np.ndarray, labels: np.ndarray, half: np.ndarray) -> Iterable[np.ndarray]:
    """Yield the squared errors [n] of the mean label of each code in the other half, for each prior."""
    size = int(codes.max()) + 1
    sides = [(side, codes[side], labels[side]) for side in (half, ~half)]
    known = [(np.bincount(c, minlength=size), np.bincount(c, y, minlength=size), y.mean()) for _, c, y in sides]
    for prior in PRIORS:
        errors = np.empty(len(codes))
        for (side, code, own), (count, total, mean) in zip(sides, known[::-1], strict=True):
            errors[side] = np.square(own - ((total + prior * mean) / (count + prior))[code])
        yield errors


def _mean(labels: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Return the squared errors [n] of the mean of the other half."""
    return np.square(labels - np.where(half, labels[~half].mean(), labels[half].mean()))


def _by_line(x: np.ndarray, labels: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Return the squared errors [n] of a straight line through the other half."""
    errors = np.empty(len(x))
    for side in (half, ~half):
        own, y = x[~side], labels[~side]
        slope = np.cov(own, y, bias=True)[0, 1] / max(float(own.var()), 1e-300)
        errors[side] = np.square(labels[side] - (y.mean() + slope * (x[side] - own.mean())))
    return errors


def are_times(values: pd.Index) -> bool:
    """Return whether texts are times of one notation."""
    finder = Finder("")
    with suppress(DataError):
        finder.look(pd.Series(values), Origin().at)
        return finder.found().first is not None
    return False


def why_texts(values: pd.Index) -> str:
    """Return why texts that are others in nearly every row are no field: most of them may be meant as numbers."""
    texts = as_text(values.to_series())
    bare = texts.str.replace(r"[$€£¥%,\s]", "", regex=True)
    if pd.to_numeric(bare, errors="coerce").notna().mean() < 0.9:
        return "nearly every row has another text"
    odd = texts[pd.to_numeric(texts, errors="coerce").isna()].iloc[0]
    return f"most of it is numbers, and {shown(odd)} is none; mend the column, or say decimal: ,"
