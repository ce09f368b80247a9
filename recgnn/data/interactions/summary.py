"""What a person is told of prepared data, from counts alone: the summary, its warnings, and logs of which too little is
left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from recgnn.data.interactions.filters import Filter
from recgnn.data.interactions.log import PARTS
from recgnn.data.interactions.prepared import FORMAT
from recgnn.data.interactions.split import Split, TemporalSplit
from recgnn.data.interactions.usual_split import notes_of
from recgnn.data.readers.notation import Notation
from recgnn.errors import DataError

FEW, FEW_USERS = 0.2, 100  # share and number of users below which a test part says little


class Asked(NamedTuple):
    """What is to be made of a log; see `prepare`."""

    filters: Sequence[Filter]
    split: Split
    positive: str | None
    repeats: str
    earlier: Path | None = None


class Facts(NamedTuple):
    """What is known of a log: its name, rows, times, what the source calls its columns, notes, and its columns."""

    name: str
    rows: int
    times: Notation | None
    columns: Mapping[str, str]
    notes: Sequence[str]
    names: Sequence[str]


class Counted(NamedTuple):
    """What became of the rows: what was dropped; the sizes of the parts before labels were lost, of what is left, and
    of their cold rows; users with test rows; the ratings of train, from and to; whether it has times and weights;
    how much of it is later than test."""

    dropped: list[dict[str, Any]]
    sizes: Mapping[str, int]
    left: Mapping[str, int]
    cold: Mapping[str, int]
    tested: int
    ratings: list[float] | None
    timed: bool
    weighted: bool
    later: float | None


def summary_of(facts: Facts, asked: Asked, named: Split, counted: Counted, users: int, items: int) -> dict[str, Any]:
    """Return the summary of prepared data.

    Args:
        facts: The log.
        asked: What was made of it, with the split that was taken.
        named: The split that was asked for.
        counted: What became of the rows.
        users, items: How many are known.

    Raises:
        DataError: If all rows of a part have a user or item that is not in train.
    """
    split, sizes, left = asked.split, counted.sizes, dict(counted.left)
    missing = [name for name in PARTS[1:] if not sizes[name] and not (name == "val" and split.val_is_test)]
    warned = [f"there is no {name} part" for name in missing]
    dropped, cold = [*counted.dropped], dict(counted.cold)
    for name, rows in cold.items():
        told = {"step": f"{name} rows with a user or item that is not in train", "rows": rows, "cold": True}
        dropped += [told] if rows else []
        if rows and not left[name]:
            raise DataError(
                f"{facts.name}: the {name} part is empty: all its {rows} rows have a user or item "
                "that is not in train; draw it at random within each user (--data.split RatioSplit), or filter rare "
                "items with KCore"
            )
    warned += [f"no label is left in the {name} part" for name in PARTS[1:] if sizes[name] and not left[name]]
    if split.val_is_test:
        left["val"], cold["val"] = left["test"], cold["test"]
        warned.append("validated on the test part: figures are best-on-test, not an honest estimate")
    unseen, others = sum(cold.values()) - cold["val"] * split.val_is_test, sizes["val"] + sizes["test"]
    if unseen > 0.2 * others:
        warned.append(f"{unseen:,} of {others:,} val and test rows dropped: their users or items are not in train")
    if isinstance(split, TemporalSplit) and 0 < counted.tested < max(FEW_USERS, FEW * users) and (
        2 * counted.tested < users
    ):  # fmt: skip
        warned.append(
            f"only {counted.tested:,} of {users:,} users have test rows, since one moment holds for all; --data.split "
            "RatioSplit --data.split.order time tests each by its own latest rows"
        )
    used = sum(left[name] for name in PARTS if not (name == "val" and split.val_is_test))
    times = facts.times
    return {
        "format": FORMAT,
        "name": facts.name,
        "read": facts.rows + (0 if times is None or times.kept else times.untimed),
        "times": None if times is None else asdict(times),
        "columns": dict(facts.columns),
        "dropped": dropped,
        "users": users,
        "items": items,
        "interactions": used,
        "density": used / (users * items),
        **{name: left[name] for name in PARTS},
        "ratings": counted.ratings,
        "timestamps": counted.timed,
        "weights": counted.weighted,
        "positive": asked.positive,
        "repeats": asked.repeats,
        "split": split.describe(),
        "later": counted.later,
        "val_is_test": split.val_is_test,
        "warnings": [*facts.notes, *notes_of(split, named, facts.names), *warned],
    }


def none_left(name: str, dropped: Sequence[Mapping[str, Any]]) -> DataError:
    """Return the error where the filters leave nothing."""
    done = "; ".join(f"{d['step']} dropped {d['rows']:,}" for d in dropped)
    return DataError(f"{name}: no interactions are left after the filters ({done}); loosen them")


def one_id(name: str, rows: int, column: str, shown: str) -> DataError:
    """Return the error where all rows have one user, or one item."""
    return DataError(
        f"{name}: all {rows} interactions have one {column}, {shown}; several are needed: check which column is the "
        f"{column}, and loosen the filters"
    )
