"""Generated logs, read twice: by recgnn, and by plain loops over what was meant when they were written.

A log has a random schema, notation of times, ids, gaps, repeats, weights, broken rows and split; the loops here know
nothing of the package. Where a split draws at random, what can be said without the draw is compared.
"""

from __future__ import annotations

import csv
import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd

from recgnn.data import CTRDataModule, EventTable, GivenSplit, LeaveOneOut, RatioSplit, TableLog, TemporalSplit
from recgnn.data.clicks.history import Histories
from recgnn.data.interactions.filters import Deduplicate
from recgnn.data.interactions.prepare import compute
from recgnn.errors import RecGNNError
from tests.faults.world import Verdict, Wrong

Row = dict[str, Any]
EARLIEST = float("-inf")
PARTS = ("train", "val", "test")


class Refused(Exception):
    """A log from which nothing can be learnt, and why."""


# ---- writing


def _written(form: str) -> Callable[[int], str]:
    return lambda t: datetime.fromtimestamp(t, UTC).strftime(form)


PARIS = timezone(timedelta(hours=2))
NOTATIONS: dict[str, Callable[[int], Any]] = {
    "s": lambda t: t, "ms": lambda t: 1000 * t, "us": lambda t: 10**6 * t, "ns": lambda t: 10**9 * t,
    "iso": _written("%Y-%m-%dT%H:%M:%S"), "utc": _written("%Y-%m-%dT%H:%M:%SZ"), "blank": _written("%Y-%m-%d %H:%M:%S"),
    "zone": lambda t: datetime.fromtimestamp(t, PARIS).isoformat(), "12 hours": _written("%Y-%m-%d %I:%M:%S %p"),
    "%d/%m/%Y %H:%M:%S": _written("%d/%m/%Y %H:%M:%S"), "%m/%d/%Y %H:%M:%S": _written("%m/%d/%Y %H:%M:%S"),
    "%d.%m.%y %H:%M": _written("%d.%m.%y %H:%M"), "days": _written("%Y%m%d"),
}  # fmt: skip
UNIT = {"days": 86_400, "%d.%m.%y %H:%M": 60}  # seconds that a notation can tell apart, other than 1
IDS: tuple[Callable[[int], str], ...] = (
    lambda n: str(n + 1), lambda n: str(10**12 + 977 * n), lambda n: f"{n:03d}x", lambda n: f"ü {n}",
    lambda n: f'"{n}", a', lambda n: str(-n - 1),
)  # fmt: skip


def moments(draw: random.Random, size: int, notation: str) -> list[int]:
    """Draw times, some of which may be equal, as the notation can tell them; one is late in its month."""
    start, unit = draw.randrange(1_300_000_000, 1_600_000_000), UNIT.get(notation, 1)
    span = draw.choice([200, 5_000, 10**6, 10**8]) if unit == 1 else draw.choice([10**6, 10**7, 3 * 10**8])
    times = [(start + draw.randrange(span)) // unit * unit for _ in range(size)]
    if draw.random() < 0.4:
        few = draw.sample(times, max(1, size // 3))
        times = [draw.choice(few) for _ in times]
    late = int(datetime(2019, 3, 27, 13, 40, tzinfo=UTC).timestamp()) // unit * unit
    return [late, *times[1:]]


def write(
    draw: random.Random, folder: Path, rows: Sequence[Row], broken: bool, types: dict[str, Callable[[str], Any]]
) -> tuple[Path, int]:
    """Write rows as a table in one of several forms, of which some have types; returns its path and how many broken
    lines it has."""
    form = "csv" if broken else draw.choice(["csv", "csv", "jsonl", "parquet"])
    names = list(rows[0])
    if form != "csv":
        rows = [{n: types[n](v) if n in types and v is not None else v for n, v in row.items()} for row in rows]
    if form == "jsonl":
        path = folder / "log.jsonl"
        path.write_text("\n".join(json.dumps(row, ensure_ascii=draw.random() < 0.5) for row in rows), encoding="utf-8")
        return path, 0
    if form == "parquet":
        frame = pd.DataFrame({name: pd.array([row[name] for row in rows], dtype=_dtype(rows, name)) for name in names})
        frame.to_parquet(path := folder / "log.parquet")
        return path, 0
    separator = draw.choice(",;\t")
    lines = [[_cell(row[name]) for name in names] for row in rows]
    wrong = sorted(draw.sample(range(3, len(lines)), draw.randrange(1, 4))) if broken else []
    for place in reversed(wrong):
        lines.insert(place, lines[place][:-1] if len(names) > 2 and draw.random() < 0.5 else [*lines[place], "x"])
    with open(
        path := folder / ("log.tsv" if separator == "\t" else "log.csv"), "w", encoding="utf-8", newline=""
    ) as file:
        csv.writer(file, delimiter=separator, lineterminator=draw.choice(["\n", "\r\n"])).writerows([names, *lines])
    return path, len(wrong)


def _cell(value: Any) -> str:
    return "" if value is None else "|".join(value) if isinstance(value, list) else str(value)


def _dtype(rows: Sequence[Row], name: str) -> Any:
    values = [row[name] for row in rows if row[name] is not None]
    if values and all(type(value) is int for value in values):
        return "Int64"
    return "Float64" if values and all(type(value) in (int, float) for value in values) else object


# ---- splits, by plain loops


def sizes(count: int, ratios: Sequence[float]) -> tuple[int, int, int]:
    """Return the sizes of train, val and test of `count` rows: as RecBole has them."""
    val, test = int(ratios[1] * count), int(ratios[2] * count)
    train = count - val - test
    if train > 1:
        if 0 < ratios[2] * count < 1:
            test, train = test + 1, train - 1
        if train > 1 and 0 < ratios[1] * count < 1:
            val, train = val + 1, train - 1
    return train, val, test


def groups(rows: Sequence[Row], by: str) -> list[list[Row]]:
    """Return the rows of each user, or all of them, in their order."""
    found = defaultdict(list)
    for row in rows:
        found[row["user"] if by == "user" else 0].append(row)
    return list(found.values())


def assign(rows: Sequence[Row], split: Any) -> tuple[bool, Sequence[float]]:
    """Give each row its `part`; returns whether that is certain, and which parts were asked for."""
    for row in rows:
        row["part"] = 0
    timed = [row for row in rows if row["t"] is not None]
    if isinstance(split, RatioSplit):
        certain = split.order == "time"
        for group in groups(timed if certain else rows, split.by):
            train, val, _ = sizes(len(group), split.ratios)
            for rank, row in enumerate(sorted(group, key=lambda row: row["t"]) if certain else group):
                row["part"] = (rank >= train) + (rank >= train + val)
        return certain, split.ratios
    if isinstance(split, LeaveOneOut):
        certain = split.order != "random"
        for group in groups(timed if split.order == "time" else rows, "user"):
            if len(group) >= (3 if split.val else 2):
                *_, before, last = sorted(group, key=lambda row: row["t"]) if split.order == "time" else group
                last["part"], before["part"] = 2, int(split.val)
        return certain, (1, split.val, 1)
    if isinstance(split, TemporalSplit):
        ordered, wanted = sorted(row["t"] for row in timed), split.ratios
        if split.test_start is not None:
            test, wanted = split.test_start, (1, split.val_start is not None, 1)
            val = test if split.val_start is None else split.val_start
        else:
            cuts = int(wanted[0] * len(ordered) + 1e-9), int((wanted[0] + wanted[1]) * len(ordered) + 1e-9)
            val, test = (ordered[cut] if cut < len(ordered) else float("inf") for cut in cuts)
        for row in timed:
            row["part"] = (row["t"] >= val) + (row["t"] >= test)
        return True, wanted
    for row in rows:  # given
        row["part"] = PARTS.index(row["split"])
    if any(row["part"] == 1 for row in rows):
        if split.val is not None:
            raise Refused("the data have a validation part, and another is asked for")
        return True, (1, 1, 0)
    share = {None: 0.1, "test": 0.0}.get(split.val, split.val)
    for group in groups([row for row in rows if not row["part"]], "user") if share else ():
        for row in group[sizes(len(group), (1 - share, share, 0.0))[0] :]:
            row["part"] = 1
    return not share, (1, share, 1)


def refuse_empty(rows: Sequence[Row], wanted: Sequence[float]) -> None:
    for code, name in enumerate(PARTS):
        if wanted[code] and not any(row["part"] == code for row in rows):
            raise Refused(f"no {name} part")


def splits(draw: random.Random, columns: Sequence[str], events: bool = False) -> Any:
    """Draw a split that the columns allow."""
    ratios = draw.choice([(0.8, 0.1, 0.1), (0.6, 0.2, 0.2), (0.7, 0.0, 0.3)])
    kinds: list[Callable[[], Any]] = []
    if not events:
        kinds.append(lambda: RatioSplit(ratios, draw.choice(["user", "all"]), "random", draw.randrange(99)))
        kinds.append(lambda: LeaveOneOut(draw.choice(["random", "given"]), draw.random() < 0.7))
    if "t" in columns:
        kinds.append(lambda: RatioSplit(ratios, "all" if events else draw.choice(["user", "all"]), "time"))
        kinds.append(lambda: TemporalSplit(ratios))
        if not events:
            kinds.append(lambda: LeaveOneOut("time", draw.random() < 0.7))
    if "split" in columns:
        return GivenSplit(None if events else draw.choice([None, None, 0, 0.2, "test"]))
    return draw.choice(kinds)()


# ---- logs


def log_case(draw: random.Random, folder: Path) -> str:
    """Generate a log, read it both ways and compare; returns what it was.

    Raises:
        Wrong: Where the two differ.
    """
    size, notation = draw.randrange(15, 90), draw.choice(list(NOTATIONS))
    user_id, item_id = draw.choice(IDS), draw.choice(IDS)
    optional = {name for name in ("t", "rating", "weight", "behavior", "split") if draw.random() < 0.45}
    times = moments(draw, size, notation)
    missing = draw.choice(["refuse", "refuse", "drop", "keep"]) if "t" in optional else "refuse"
    rows: list[Row] = []
    for number in range(size):
        part = draw.choices(PARTS, (8, 1, 2))[0]
        own = {"user": user_id(draw.randrange(7)), "item": item_id(draw.randrange(9)), "t": times[number]}
        own |= {"rating": draw.randrange(1, 11) / 2, "weight": draw.choice([0.5, 1.0, 2.0, 7.0]), "split": part}
        own["behavior"] = draw.choice(["buy", "buy", "see"])
        if "t" not in optional or (missing != "refuse" and draw.random() < 0.15):
            own["t"] = None
        rows.append(own)
    if "split" in optional and draw.random() < 0.5:  # the data have no validation part
        for row in rows:
            row["split"] = "train" if row["split"] == "val" else row["split"]
    names = {"user": draw.choice(["user", "customer id"]), "item": draw.choice(["item", "sku"]), "t": "when",
             "rating": "stars", "weight": "plays", "split": "split", "behavior": "behavior"}  # fmt: skip
    columns = ["user", "item", *draw.sample(sorted(optional), len(optional))]
    broken = draw.random() < 0.2
    table = [{names[c]: NOTATIONS[notation](row[c]) if c == "t" and row[c] is not None else row[c] for c in columns}
             for row in rows]  # fmt: skip
    path, wrong = write(draw, folder, table, broken, {})
    said = {"time_format": notation} if "%" in notation else {}
    source = TableLog(
        path, user=names["user"], item=names["item"], rating="stars" if "rating" in optional else "",
        timestamp="when" if "t" in optional else "", weight="plays" if "weight" in optional else "",
        keep="behavior == 'buy'" if "behavior" in optional else None, on_bad_rows="drop" if broken else "refuse",
        on_missing=missing, **said,
    )  # fmt: skip
    split = splits(draw, [*optional])
    positive = f"rating >= {draw.choice([2, 3.5])}" if "rating" in optional and draw.random() < 0.4 else None
    repeats = draw.choice(["merge", "merge", "keep"])
    filters = [Deduplicate(draw.choice(["first", "last"]))] if draw.random() < 0.3 else []
    told = f"{size} rows as {path.name}, {columns}, times as {notation}, {missing} missing, {split.describe()}"
    told += f", positive {positive}, repeats {repeats}, {[f.describe() for f in filters]}, {wrong} broken"
    kept = [row for row in rows if "behavior" not in optional or row["behavior"] == "buy"]
    try:
        wanted = meant(kept, optional, missing, split, positive, repeats, filters)
    except Refused as reason:
        wanted = reason
    try:
        found = compute(source, filters, split, positive, repeats)
    except RecGNNError as error:
        if isinstance(wanted, Refused) or (
            (wanted is None or not wanted[0]) and "part is empty: all its" in str(error)  # by the draw
        ):
            return told
        raise Wrong(f"{told}: refused: {error}") from error
    if isinstance(wanted, Refused):
        raise Wrong(f"{told}: not refused, though {wanted}")
    if wanted is None:
        return told
    certain, parts, cold = wanted
    read = {name: decoded(getattr(found, name), found, optional) for name in PARTS}
    if certain:
        for name in PARTS:
            same(read[name], Counter(map(key_of(optional), parts[name])), f"{told}: {name}")
        same(
            {n: len(c) for n, c in found.cold.items() if len(c)}, {n: c for n, c in cold.items() if c}, f"{told}: cold"
        )
    else:
        together, meant_rows = sum(read.values(), Counter()), sum((parts[name] for name in PARTS), [])
        more = together - Counter(map(key_of(optional), meant_rows))
        same(dict(more), {}, f"{told}: rows that nobody wrote")
        same(together.total() + sum(map(len, found.cold.values())), len(meant_rows), f"{told}: rows in all")
        for name in PARTS:
            same(len(getattr(found, name)) + len(found.cold.get(name, ())), len(parts[name]), f"{told}: size of {name}")
    return told


def meant(rows, optional, missing, split, positive, repeats, filters):
    """Return whether the parts are certain, the rows of each, and how many labels have no user or item in train."""
    if missing == "drop":
        rows = [row for row in rows if row["t"] is not None]
    keep = filters[0].keep if filters else "last"
    least = float(positive.split()[-1]) if positive else 0.0
    follows = not (isinstance(split, RatioSplit | LeaveOneOut) and split.order == "random")
    if repeats == "merge" and not follows and not filters:
        rows = one_of_each(rows, keep)
    rows = [row for row in rows if not positive or row["rating"] >= least]
    if repeats == "merge" and not follows and filters:
        rows = one_of_each(rows, keep)
    for side in ("user", "item"):
        if len({row[side] for row in rows}) < 2:
            raise Refused(f"fewer than two {side}s")
    certain, wanted = assign(rows, split)
    refuse_empty(rows, wanted)
    parts = {name: [row for row in rows if row["part"] == code] for code, name in enumerate(PARTS)}
    if not certain and isinstance(split, GivenSplit) and repeats == "merge":
        return None  # drawn within what follows: nothing is certain
    if follows and repeats == "merge":
        parts = {name: one_of_each(own, keep) for name, own in parts.items()}
        before = {pair(row) for row in parts["train"]}
        val = {pair(row) for row in parts["val"]}
        parts["val"] = [row for row in parts["val"] if pair(row) not in before]
        parts["test"] = [row for row in parts["test"] if pair(row) not in before | val]
    cold: Counter[str] = Counter()
    if certain:
        users, items = ({row[side] for row in parts["train"]} for side in ("user", "item"))
        for name in ("val", "test"):
            known = [row for row in parts[name] if row["user"] in users and row["item"] in items]
            cold[name] = len(parts[name]) - len(known)
            if cold[name] and not known:
                raise Refused(f"nothing of {name} is known")
            parts[name] = known
    if split.val_is_test:
        parts["val"], cold["val"] = parts["test"], cold["test"]
    return certain, parts, cold


def pair(row: Row) -> tuple[str, str]:
    return row["user"], row["item"]


def one_of_each(rows: Sequence[Row], keep: str) -> list[Row]:
    """Keep the first or last row of each pair by time, in the order of the log, with the sum of their weights."""
    own = defaultdict(list)
    for place, row in enumerate(rows):
        own[pair(row)].append((EARLIEST if row["t"] is None else row["t"], place))
    chosen = {pair: (min if keep == "first" else max)(places)[1] for pair, places in own.items()}
    return [row | {"weight": sum(rows[p]["weight"] for _, p in own[pair(row)])}
            for place, row in enumerate(rows) if chosen[pair(row)] == place]  # fmt: skip


def key_of(optional: set[str]) -> Callable[[Row], tuple]:
    """Return what of a row can be compared."""
    return lambda row: (row["user"], row["item"], *(row[c] for c in ("t", "rating", "weight") if c in optional))


def decoded(part: Any, found: Any, optional: set[str]) -> Counter:
    columns: list[Any] = [found.users.ids[part.user].astype(str), found.items.ids[part.item].astype(str)]
    for name, values in (("t", part.timestamp), ("rating", part.rating), ("weight", part.weight)):
        if name in optional:
            columns.append([None if value != value else float(value) for value in values.tolist()])
    return Counter(zip(*columns, strict=True))


def same(found: Any, wanted: Any, what: str) -> None:
    if found != wanted:
        extra = ""
        if isinstance(found, Counter):
            extra = f" (more: {list((found - wanted).items())[:3]}, fewer: {list((wanted - found).items())[:3]})"
        raise Wrong(f"{what}: {str(found)[:90]}, expected {str(wanted)[:90]}{extra}")


# ---- events

TYPES: dict[str, Callable[[str], Any]] = {
    "integer": int, "number": float, "bool": lambda text: text.lower() == "true", "text": str,
}  # fmt: skip


def event_case(draw: random.Random, folder: Path) -> str:
    """Generate events with a label, fields and a past, read them both ways and compare; returns what they were.

    Raises:
        Wrong: Where the two differ.
    """
    size, notation = draw.randrange(40, 150), draw.choice(list(NOTATIONS))
    missing, weighted, given = draw.choice(["refuse", "drop", "keep"]), draw.random() < 0.4, draw.random() < 0.4
    user_id, item_id, kind = draw.choice(IDS), draw.choice(IDS), draw.choice(["integer", "number", "bool", "text"])
    values = {"integer": ["3", "7", "12"], "number": ["1.5", "2.0", "2", "-4.25"], "bool": ["true", "True", "false"],
              "text": ["a", "B", "b", "x y"]}[kind]  # fmt: skip
    times, tags = moments(draw, size, notation), ["red", "blue", "new", "old", "ü"]
    rows: list[Row] = []
    for number in range(size):
        rows.append({
            "user": None if draw.random() < 0.06 else user_id(draw.randrange(5)), "item": item_id(draw.randrange(8)),
            "t": None if missing != "refuse" and draw.random() < 0.1 else times[number], "label": draw.randrange(2),
            "shop": draw.choice([None, *values]), "tags": draw.sample(tags, draw.choice([0, 1, 2, 2, 3])),
            "weight": draw.choice([0.5, 1.0, 3.0]), "split": draw.choices(PARTS, (7, 1, 2))[0],
        })  # fmt: skip
    columns = ["user", "item", "t", "label", "shop", "tags", *(["weight"] if weighted else []),
               *(["split"] if given else [])]  # fmt: skip
    names = {"t": "timestamp", "label": "clicked"}
    told_times = {c: NOTATIONS[notation] if c == "t" else lambda value: value for c in columns}
    table = [{names.get(c, c): row[c] if row[c] is None else told_times[c](row[c]) for c in columns} for row in rows]
    path, _ = write(draw, folder, table, False, {"shop": TYPES[kind]})
    said = {"time_format": notation} if "%" in notation else {}
    split = splits(draw, ["t", "split"] if given else ["t"], events=True)
    fewest, longest = draw.choice([1, 2, 3]), draw.choice([1, 2, 50])
    fields: dict[str, Any] = {"user": "categorical", "item": "categorical", "tags": "multi"}
    fields["shop"] = {"kind": "categorical", "min_count": fewest}
    data = CTRDataModule(
        EventTable(path, on_missing=missing, **said), "clicked", fields, split, cache_dir=str(folder / "cache"),
        history=Histories(["item"], longest), weight="weight" if weighted else None,
    )  # fmt: skip
    told = f"{size} events as {path.name}, shop {kind} at least {fewest}, times as {notation}, {missing} missing, "
    told += f"{split.describe()}, past of {longest}, weighted {weighted}"
    kept = [row for row in rows if missing != "drop" or row["t"] is not None]
    reason = None
    try:
        certain, wanted = assign(kept, split)
        refuse_empty(kept, wanted)
        if len({row["label"] for row in kept if not row["part"]}) < 2:
            raise Refused("one label in train")
    except Refused as error:
        reason = error
    try:
        found = data.prepared
    except RecGNNError as error:
        if reason is not None:
            return told
        raise Wrong(f"{told}: refused: {error}") from error
    if reason is not None:
        raise Wrong(f"{told}: not refused, though {reason}")
    if certain:
        compare_events(kept, found, Expected(kept, kind, fewest, longest), weighted, told)
    return told


class Expected:
    """What each event's values mean, given those of train."""

    def __init__(self, rows: Sequence[Row], kind: str, fewest: int, longest: int):
        self.rows, self.kind, self.longest = rows, kind, longest
        train = [row for row in rows if not row["part"]]
        shops = Counter(self.plain(row["shop"]) for row in train if row["shop"] is not None)
        self.known: dict[str, set[Any]] = {side: {row[side] for row in train} for side in ("user", "item")}
        self.known |= {"shop": {value for value, count in shops.items() if count >= fewest}}
        self.known |= {"tags": {tag for row in train for tag in row["tags"]}}
        self.slots = max(1, *(len(row["tags"]) for row in train))

    def plain(self, value: str) -> Any:
        return TYPES[self.kind](value)

    def token(self, field: str, value: Any) -> Any:
        """Return what a value is: itself, unknown, or missing."""
        value = self.plain(value) if field == "shop" and value is not None else value
        return "missing" if value is None else (value,) if value in self.known[field] else "unknown"

    def past(self, row: Row) -> list[Any]:
        """Return the items of the user's positive events before an event, as far as its part may know them."""
        if row["user"] is None or row["t"] is None:
            return []
        liked = [other for other in self.rows if other["label"] and other["t"] is not None]
        own = [other for other in liked if other["user"] == row["user"]
               and other["t"] < row["t"] and other["part"] <= row["part"]]  # fmt: skip
        return [self.token("item", other["item"]) for other in sorted(own, key=lambda o: o["t"])[-self.longest :]]


def compare_events(rows: Sequence[Row], found: Any, expected: Expected, weighted: bool, told: str) -> None:
    """Compare every array of every part; a row of the table stands for one value, and a value for one row."""
    names, slots = found.encoders.names, found.encoders.slots
    place = {name: slots.index(names.index(name)) for name in names}
    meaning: dict[tuple[str, int], Any] = {}
    rows_of: dict[tuple[str, Any], int] = {}

    def agree(field: str, row: int, token: Any, where: str) -> None:
        same(meaning.setdefault((field, row), token), token, f"{where}, {field}: what row {row} stands for")
        same(rows_of.setdefault((field, token), row), row, f"{where}, {field}: the row of {token}")

    of_group: dict[int, Any] = {}
    for code, name in enumerate(PARTS):
        part, own = getattr(found, name), [row for row in rows if row["part"] == code]
        same(len(part), len(own), f"{told}: events of {name}")
        values = None if part.values is None else dict(zip([s for s, w in enumerate(found.encoders.weighted) if w],
                                                           part.values.T, strict=True))  # fmt: skip
        for number, row in enumerate(own):
            where = f"{told}: {name} {number}"
            same(float(part.labels[number]), float(row["label"]), f"{where}: label")
            if weighted:
                same(float(part.weights[number]), row["weight"], f"{where}: weight")
            same(part.groups[number] < 0, row["user"] is None, f"{where}: group of nobody")
            same(of_group.setdefault(int(part.groups[number]), row["user"]), row["user"], f"{where}: group")
            for field in ("user", "item", "shop"):
                agree(field, int(part.ids[number, place[field]]), expected.token(field, row[field]), where)
            tags = [expected.token("tags", tag) for tag in row["tags"][: expected.slots]] or ["missing"]
            for slot, tag in enumerate(tags):
                agree("tags", int(part.ids[number, place["tags"] + slot]), tag, where)
            assert values is not None
            x = [round(float(values[place["tags"] + slot][number]), 5) for slot in range(expected.slots)]
            same(
                x,
                [round(1 / len(tags), 5)] * len(tags) + [0.0] * (expected.slots - len(tags)),
                f"{where}: weights of tags",
            )
            start, length = int(part.starts[number]), int(part.lengths[number])
            past, wanted = part.past_items[start : start + length], expected.past(row)
            same(length, len(wanted), f"{where}: length of the past")
            for item, token in zip(past, wanted, strict=True):
                agree("item", int(found.item_ids[item, 0]), token, f"{where}: past")


CASES = {"log": log_case, "events": event_case}


def case(draw: random.Random, folder: Path, name: str) -> Verdict:
    """Run one of `CASES`, and judge it."""
    try:
        return Verdict("right", CASES[name](draw, folder))
    except Wrong as error:
        return Verdict("silent wrong", str(error))
