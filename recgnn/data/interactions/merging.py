"""Which steps a log goes through, and what becomes of pairs that occur several times."""

from __future__ import annotations

import numpy as np
import pandas as pd

from recgnn.data.interactions.filters import Deduplicate, Filter, Positive, pair_keys
from recgnn.data.interactions.log import ITEM, USER
from recgnn.data.interactions.summary import Asked


def steps_of(asked: Asked) -> list[Filter]:
    """Return the filters that a log goes through before it is split."""
    steps = [*asked.filters]
    if asked.positive not in (None, "all"):
        steps = [Positive(str(asked.positive)), *steps]
    if asked.repeats == "keep" or asked.split.follows_log:
        steps = [step for step in steps if not isinstance(step, Deduplicate)]  # within the parts, if at all
    elif not any(isinstance(step, Deduplicate) for step in steps):
        steps = [Deduplicate("last"), *steps]
    return steps


def merged(frames: dict[str, pd.DataFrame], asked: Asked) -> tuple[dict[str, pd.DataFrame], dict[str, int]]:
    """Merge repeated pairs within each part, and drop the labels that are known before; and how many rows each lost."""
    merge = next((step for step in asked.filters if isinstance(step, Deduplicate)), Deduplicate("last"))
    found = {name: merge.apply(frame) for name, frame in frames.items()}
    lost = {f"{merge.describe()}, within each part": sum(len(frames[name]) - len(found[name]) for name in frames)}
    joined, distinct = pd.factorize(pair_keys(pd.concat([frame[[USER, ITEM]] for frame in found.values()])))
    pairs = dict(zip(found, np.split(joined, np.cumsum([len(frame) for frame in found.values()])[:-1]), strict=True))
    for name, before in (("val", ["train"]), ("test", ["train", "val"])):
        seen = np.zeros(len(distinct), dtype=bool)
        for part in before:
            seen[pairs[part]] = True
        known = seen[pairs[name]]
        found[name] = found[name][~known]
        lost[f"{name} labels that are known from {' and '.join(before)}"] = int(known.sum())
    return found, lost
