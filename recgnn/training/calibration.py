"""Calibration after training: a rising curve from logits to logits that makes probabilities right on validation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.special import expit, logit

Calibration = Literal["none", "platt", "isotonic"]
END = 50.0  # a logit beyond all others
MOST = 50  # levels of an isotonic curve
FOLDS = 5
CLEARLY = 0.002  # share of the log loss that calibration must save to be recommended


def platt(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    r"""Fit the straight line a z + b by Newton's method (`Platt, 1999
    <https://www.cs.colorado.edu/~mozer/Teaching/syllabi/6622/papers/Platt1999.pdf>`_).

    .. math:: p = \sigma(a z + b), \quad a > 0

    The targets are (N+ + 1) / (N+ + 2) for the N+ positives, and 1 / (N- + 2) for the N- negatives, as in the paper.

    Shapes: logits [n], labels [n] of 0 and 1, weights [n]; its ends: logits and their images, [2, 2].
    """
    positives, negatives = float(weights @ labels), float(weights @ (1 - labels))
    targets = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    x = np.stack([logits, np.ones_like(logits)], 1)
    line = np.array([1.0, 0.0])
    for _ in range(100):
        chance = expit(x @ line)
        gradient = x.T @ (weights * (chance - targets))
        hessian = x.T @ (x * (weights * chance * (1 - chance))[:, None]) + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        while loss(x @ (line - step), targets, weights) > loss(x @ line, targets, weights) + 1e-12:
            step = step / 2
        line = line - step
        if np.abs(step).max() < 1e-8:
            break
    ends = np.array([-END, END])
    return np.stack([ends, max(float(line[0]), 1e-3) * ends + line[1]])


def isotonic(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Fit rising levels by pooling adjacent violators (`Zadrozny & Elkan, 2002
    <https://doi.org/10.1145/775047.775151>`_), and join their middles by straight lines in logits, so that the order of
    events stays as it is; beyond the first and the last level the logits are shifted.

    Shapes: logits [n], labels [n] of 0 and 1, weights [n]; logits and their images, [2, K].
    """
    order = np.argsort(logits, kind="stable")
    z, y, w = logits[order], labels[order].astype(np.float64), np.maximum(weights[order], 1e-12)
    edges = np.searchsorted(z, np.unique(np.quantile(z, np.arange(1, MOST) / MOST)), side="right")
    starts = np.unique([0, *edges[edges < len(z)]])
    total, positive, middle = (np.add.reduceat(x, starts) for x in (w, w * y, w * z))
    rates = (positive + 0.5 * y.mean()) / (total + 0.5)  # no level of 0 or 1
    fitted = isotonic_regression(rates, weights=total)
    blocks = np.asarray(fitted.blocks)[:-1]
    total, middle = np.add.reduceat(total, blocks), np.add.reduceat(middle, blocks)
    x, image = middle / total, logit(np.asarray(fitted.x)[blocks])
    ends = [[x[0] - END, *x, x[-1] + END], [image[0] - END, *image, image[-1] + END]]
    return np.array(ends)


def applied(curve: np.ndarray | None, logits: np.ndarray) -> np.ndarray:
    """Return calibrated logits, [n]."""
    return logits if curve is None else np.interp(logits, *curve)


FITS: dict[str, Callable[..., np.ndarray | None]] = {"none": lambda *_: None, "platt": platt, "isotonic": isotonic}


def cross_fitted(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    """Return the log loss of each calibration on fifths of the events, fitted on the others; without any, `none`."""
    fold = np.random.default_rng(0).permutation(len(logits)) % FOLDS
    found = {}
    for name, fit in FITS.items():
        total = 0.0
        for number in range(FOLDS):
            own = fold == number
            curve = fit(logits[~own], labels[~own], weights[~own])
            total += loss(applied(curve, logits[own]), labels[own], weights[own]) * weights[own].sum()
        found[name] = total / float(weights.sum())
    return found


def recommended(losses: dict[str, float]) -> str:
    """Return the calibration that saves clearly of the log loss, `none` where there is none."""
    best = min(losses, key=lambda name: losses[name])
    return best if losses[best] < losses["none"] * (1 - CLEARLY) else "none"


def loss(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    """Return the mean cross entropy, in nats."""
    return float(weights @ (np.logaddexp(0, logits) - labels * logits) / weights.sum())
