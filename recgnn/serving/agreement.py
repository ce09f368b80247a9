"""Whether two runs were tested on the same events, and neither was trained on them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recgnn.data.interactions.log import PARTS
from recgnn.data.interactions.prepared import PreparedLog
from recgnn.data.readers.origin import shown
from recgnn.data.stored import reading
from recgnn.errors import ConfigError
from recgnn.serving.clicks import TrainedCTR
from recgnn.serving.recommender import TrainedRecommender


class Pairs(NamedTuple):
    """Pairs of a user and an item as one number each, by part; `held` of them are what a part is measured by."""

    held: dict[str, np.ndarray]
    known: dict[str, np.ndarray]
    unknown: int  # of test, of a user or item that is not in the retriever's training data


def agreement(retriever: TrainedRecommender, ranker: TrainedCTR) -> tuple[list[str], str]:
    """Hold the parts of a retriever's log against those of a ranker's events, by raw ids.

    Their test parts must have the same pairs of a user and an item (of the ranker's events those with label 1), as far
    as the retriever knows both; and no such pair may be in an earlier part of the other, unless it was in an earlier
    part of its own, too. The same goes for validation, without which nothing can be chosen.

    Returns:
        The parts that can be measured, `test` last, and a line about it.

    Raises:
        ConfigError: If the test parts differ, or one run has learnt from the test part of the other.
    """
    log = retriever.prepared
    mine, theirs = _of_log(log), _of_events(log, ranker)
    if trouble := _trouble(log, mine, theirs, "test", str(retriever.run), str(ranker.run)):
        rows = log.summary["positive"] or "all"
        raise ConfigError(f"{trouble}; the retriever's split is {log.summary['split']} of {rows} rows, the ranker's "
                          f"{ranker.summary['split']} of {ranker.summary['label']}: train both with one")  # fmt: skip
    told = f"splits agree: {len(mine.held['test']):,} test pairs are the same, and in no earlier part"
    told += f" ({theirs.unknown:,} more are of users or items that the retriever does not know)" * (theirs.unknown > 0)
    if log.summary["val_is_test"] or not len(mine.held["val"]):
        return ["test"], f"{told}; there is no validation part"
    if trouble := _trouble(log, mine, theirs, "val", str(retriever.run), str(ranker.run)):
        return ["test"], f"{told}; validation is not measured: {trouble}"
    return ["val", "test"], f"{told}; so are {len(mine.held['val']):,} of validation"


def _of_log(log: PreparedLog) -> Pairs:
    found = {part: np.unique(getattr(log, part).user * log.num_items + getattr(log, part).item) for part in PARTS}
    if log.summary["val_is_test"]:
        found["val"] = found["val"][:0]
    return Pairs(found, found, 0)


def _of_events(log: PreparedLog, ranker: TrainedCTR) -> Pairs:
    """The ranker's events in rows of the log."""
    with reading(ranker.folder, "its events cannot be read"):
        table = ranker.known
        user = np.append(log.users.encode(table.users["user"]), -1)[table.user]
        item = log.items.encode(table.items["item"])[table.item]
    there = (user >= 0) & (item >= 0)
    key = user * log.num_items + item
    known = {part: np.unique(key[there & (table.part == code)]) for code, part in enumerate(PARTS)}
    held = {part: np.unique(key[there & (table.part == code) & table.positive]) for code, part in enumerate(PARTS)}
    unknown = int((~there & (table.part == 2) & table.positive).sum())
    return Pairs(held, known, unknown)


def _trouble(log: PreparedLog, mine: Pairs, theirs: Pairs, part: str, retriever: str, ranker: str) -> str:
    """Return in words why a part cannot be measured; "" where it can."""

    def such(keys: np.ndarray) -> str:
        user, item = log.users.decode(keys[:1] // log.num_items)[0], log.items.decode(keys[:1] % log.num_items)[0]
        return f"{len(keys):,} pairs, such as user {shown(user)} with item {shown(item)},"

    for own, other, one, two in ((mine, theirs, retriever, ranker), (theirs, mine, ranker, retriever)):
        earlier = [np.concatenate([side.known[name] for name in PARTS[: PARTS.index(part)]]) for side in (own, other)]
        learnt = np.intersect1d(own.held[part], np.setdiff1d(earlier[1], earlier[0]))
        if len(learnt):
            return f"{such(learnt)} are in the {part} part of {one} and in an earlier part of {two}"
    for own, other, one, two in ((mine, theirs, retriever, ranker), (theirs, mine, ranker, retriever)):
        if len(alone := np.setdiff1d(own.held[part], other.held[part])):
            return f"{such(alone)} are in the {part} part of {one} and not in that of {two}"
    return ""
