"""A look at single fields before training: does one of them give the label away?"""

from __future__ import annotations

import numpy as np

from recgnn.data.clicks.encoders import MISSING
from recgnn.data.clicks.number_encoders import Numeric
from recgnn.data.clicks.prepared import PreparedEvents
from recgnn.data.interactions.log import ITEM

SAMPLE = 2**15  # events of each label that are looked at
LEAST = 50  # of each label, to say anything of them
BINS = 64  # of a number


def screen(prepared: PreparedEvents, threshold: float = 0.98) -> list[str]:
    """Return a line for each field that alone tells the labels of train apart: one that may follow from them.

    A field's values are weighed by their labels in one half of a sample of train, and the AUC is that of the other
    half, so that ids which occur once tell nothing.

    Args:
        prepared: Encoded events with labels 0 and 1.
        threshold: AUC from which a field is named.
    """
    labels, random, chosen = np.asarray(prepared.train.labels), np.random.default_rng(0), []
    for rows in (np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)):
        chosen.append(random.choice(rows, SAMPLE, replace=False) if len(rows) > SAMPLE else rows)
    if min(map(len, chosen)) < 2 * LEAST:
        return []
    rows = np.sort(np.concatenate(chosen))
    half = random.permutation(len(rows)) % 2 == 0
    ids, label = np.asarray(prepared.train.ids[rows]), labels[rows]
    values = np.ones(ids.shape, dtype=np.float32)
    if prepared.train.values is not None:
        values[:, prepared.encoders.weighted] = prepared.train.values[rows]
    lines, slot, start = [], 0, 0
    for name, encoder in prepared.encoders.encoders.items():
        own = slice(slot, slot + encoder.num_slots)
        field, x = ids[:, own] - start, values[:, own]
        if isinstance(encoder, Numeric):
            field, x = in_parts(field, x, half), np.ones_like(x)
        value = single_auc(field, x, label, half)
        if value >= threshold:
            asked = "is it known before the click?"
            if prepared.summary["negatives"]:
                by = "popularity" if prepared.encoders.columns[name] == ITEM else "a column that may be another's"
                asked = f"{by} tells sampled events from real ones"
            lines.append(f"field {name} alone has AUC {value:.2f}: {asked} (screen: false leaves this out)")
        slot, start = slot + encoder.num_slots, start + encoder.num_rows
    return lines


def in_parts(ids: np.ndarray, values: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Return a number's part among 64 of about equally many events of one half, -1 where it is missing: [n, 1]."""
    missing = ids == MISSING
    known = values[half[:, None] & ~missing]
    edges = np.unique(np.quantile(known, np.arange(1, BINS) / BINS)) if len(known) else known
    return np.where(missing, -1, np.searchsorted(edges, values, side="right"))


def single_auc(ids: np.ndarray, values: np.ndarray, label: np.ndarray, half: np.ndarray) -> float:
    """Return the AUC of a field alone, by log-odds of its values in one half of the events, over the other half.

    Args:
        ids: Which values each event has, [n, k].
        values: The numbers they have in it, [n, k]; 0 for none.
        label: 0 or 1, [n].
        half: The half by which they are weighed, [n] bool.
    """
    event, slot = np.nonzero(values)
    _, code = np.unique(ids[event, slot], return_inverse=True)
    seen = half[event]
    count = np.bincount(code[seen], minlength=code.max() + 1)
    positive = np.bincount(code[seen], label[event][seen], minlength=len(count))
    rate = label[half].mean()
    odds = np.log((positive + rate) / (count - positive + 1 - rate))
    score = np.bincount(event, values[event, slot] * odds[code], minlength=len(ids))[~half]
    _, place = np.unique(score, return_inverse=True)
    ones = np.bincount(place, label[~half])
    zeros = np.bincount(place) - ones
    return float((ones * (zeros.cumsum() - zeros / 2)).sum() / (ones.sum() * zeros.sum()))
