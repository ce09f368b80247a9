"""Bad tables and lists of ids for every command that reads one: refused in a line, or the answer that an independent
reading gives."""

from __future__ import annotations

import csv
import io
import random
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from recgnn.data.interactions.prepared import PreparedLog
from tests.faults.forked import Outcome, command, forked
from tests.faults.tables import ODD, Table, generate
from tests.faults.world import (
    FIELDS,
    ITEMS,
    PLACES,
    PRICES,
    USERS,
    Verdict,
    World,
    Wrong,
    by_key,
    frame_of,
    judged,
    same,
)

NULLS = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "null", "NULL", "None", "\\N")
INTEGER = re.compile(r"([+-]?)0*(\d+)(\.0*)?")
ONE = ["--trainer.max_epochs=1"]


def number(text: str) -> float | None:
    """Return the finite number that a text is; None if it is none."""
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text):
        return None
    value = float(text)
    return value if np.isfinite(value) else None


def integer(text: str) -> str:
    """Return an id that is an integer as it is usually written, any other as it is."""
    found = INTEGER.fullmatch(text)
    return text if not found or not text.isascii() else ("-" if found[1] == "-" and found[2] != "0" else "") + found[2]


def refused_or(outcome: Outcome, table: Table, what: str, check: Callable[[], None]) -> Verdict:
    """Judge a command that read a table; `check` raises `Wrong` where its answer is not the right one."""
    if (verdict := judged(outcome, what)) is not None:
        told = verdict.outcome == "refused" and table.good
        return verdict._replace(outcome="unclear", told=f"good, and refused: {verdict.told}") if told else verdict
    if table.read is None:
        return Verdict("silent wrong", what, "an independent reader refuses the file")
    try:
        check()
    except Wrong as error:
        return Verdict("silent wrong", what, str(error))
    except Exception as error:  # an answer of another form
        return Verdict("silent wrong", what, f"{type(error).__name__}: {error}")
    return Verdict("right", what)


def need(condition: object, told: str) -> None:
    if not condition:
        raise Wrong(told)


# ---- fit: logs and events


def fit_log(world: World, draw: random.Random, folder: Path) -> Verdict:
    names = ("user", "item", "rating", "timestamp")[: draw.choice([2, 3, 4])]
    table = generate(draw, folder, names, [row[: len(names)] for row in world.log])
    run = "rating" if len(names) > 2 and draw.random() < 0.5 else "ranking"
    options = [f"--data.source.path={table.path}", "--run_dir=run", *ONE]
    outcome = forked(command("fit", "--config", world.folder / f"{run}.yaml", *options), folder)
    return refused_or(outcome, table, f"fit {run} on {table.told}", lambda: check_log(table, folder / "run", outcome))


def check_log(table: Table, run: Path, outcome: Outcome) -> None:
    """Compare the pairs, ratings and times of a run with the table that it was trained on."""
    assert table.read is not None
    names = table.read[0]
    need({"user", "item"} <= {*names}, "there are no columns user and item")
    columns = {name: table.column(name) for name in ("user", "item", "rating", "timestamp") if name in names}
    for name, values in columns.items():
        for value in values:
            need(value not in NULLS, f"{name} {value!r} is missing")
            need(name != "rating" or number(value) is not None, f"rating {value!r} is no number")
    prepared = PreparedLog.load(run / "vocabulary")
    pairs = list(zip(columns["user"], columns["item"], strict=True))
    plain = {pair: tuple(map(integer, pair)) for pair in pairs}
    if len({user for user, _ in plain.values()}) < len({user for user, _ in pairs}):
        return  # 7 and 7.0 in one column: whether they are one user depends on the rest of the column
    ratings: dict[tuple[str, ...], set[float]] = {}
    times: dict[tuple[str, ...], set[str]] = {}
    for row, pair in enumerate(pairs):
        ratings.setdefault(plain[pair], set()).add(float(columns["rating"][row]) if "rating" in columns else 0)
        times.setdefault(plain[pair], set()).add(columns["timestamp"][row] if "timestamp" in columns else "")
    found = set()
    for part in (prepared.train, prepared.val, prepared.test):
        users, items = prepared.users.ids.to_numpy()[part.user], prepared.items.ids.to_numpy()[part.item]
        for row, ids in enumerate(zip(users, items, strict=True)):
            pair = tuple(integer(str(x)) for x in ids)
            need(pair in ratings, f"the run has {pair}, the table has not")
            found.add(pair)
            if part.rating is not None and "rating" in columns:
                need(
                    any(np.isclose(part.rating[row], r, rtol=1e-5) for r in ratings[pair]), f"another rating of {pair}"
                )
            if part.timestamp is not None and all(re.fullmatch(r"1[56]\d{8}", t) for t in times[pair]):
                need(str(int(part.timestamp[row])) in times[pair], f"another time of {pair}: {part.timestamp[row]}")
    dropped = sum(step["rows"] for step in prepared.summary["dropped"])
    need(len(ratings) - len(found) <= dropped, f"{len(ratings) - len(found)} pairs are gone, {dropped} were told")
    need(prepared.summary["read"] == len(pairs), f"{prepared.summary['read']} rows read, of {len(pairs)}")


def fit_events(world: World, draw: random.Random, folder: Path) -> Verdict:
    table = generate(draw, folder, (*FIELDS, "clicked"), world.events)
    options = [f"--data.source.path={table.path}", "--run_dir=run", *ONE]
    outcome = forked(command("fit", "--config", world.folder / "clicks.yaml", *options), folder)
    return refused_or(outcome, table, f"fit clicks on {table.told}", lambda: check_events(table, folder / "run"))


def check_events(table: Table, run: Path) -> None:
    """Compare who met what, and the labels, with the table."""
    assert table.read is not None
    need({*FIELDS, "clicked"} <= {*table.read[0]}, "a field or the label is missing")
    labels = table.column("clicked")
    for label in labels:
        need(number(label) in (0.0, 1.0), f"{label!r} is no label")
    for price in table.column("price"):
        need(price in NULLS or number(price) is not None or price in ("inf", "-inf"), f"price {price!r} is no number")
    stored = run / "vocabulary"
    users, items, met = (pd.read_parquet(stored / f"{name}.parquet") for name in ("users", "items", "meetings"))
    names = np.append(users["user"].to_numpy(object), None)  # the last is nobody
    met = met.assign(user=names[met["user"]], item=items["item"].to_numpy(object)[met["item"]])
    rows = met[["user", "item", "positive"]].itertuples(index=False)
    found = sorted((*("" if pd.isna(x) else integer(str(x)) for x in row[:2]), bool(row[2])) for row in rows)
    given = zip(table.column("user"), table.column("item"), labels, strict=True)
    nothing = {value: "" for value in NULLS}
    expected = sorted((*(nothing.get(x, integer(x)) for x in row[:2]), float(row[2]) > 0) for row in given)
    expected = [row for row in expected if row[1]]  # who met nothing met nobody's item, and is in training alone
    other = [row for row in expected if row not in found][:2]
    need(
        found == expected or len(expected) <= len(found) <= len(labels) and _only_nulls(table),
        f"other events: {other} of {len(found)}",
    )


def _only_nulls(table: Table) -> bool:
    """Whether an id of events may mean nothing or itself, which its column decides."""
    return any(value in NULLS[1:] for name in ("user", "item") for value in table.column(name))


# ---- predict, and the program that export writes


def predict(world: World, draw: random.Random, folder: Path) -> Verdict:
    run, table = _to_predict(world, draw, folder)
    output = folder / draw.choice(["answer.csv", "answer.parquet"])
    outcome = forked(command("predict", "--run", world.folder / run, "--input", table.path, "--output", output), folder)
    return refused_or(outcome, table, f"predict {run} on {table.told}",
                      lambda: check_predictions(world, run, table, output, outcome))  # fmt: skip


def score(world: World, draw: random.Random, folder: Path) -> Verdict:
    """Score a table by the program of an exported run."""
    _, table = _to_predict(world, draw, folder, "clicks")
    output = folder / draw.choice(["answer.csv", "answer.parquet"])

    def work() -> None:
        sys.argv = ["score.py", str(table.path), "--output", str(output)]
        runpy.run_path(str(world.folder / "onnx" / "score.py"), run_name="__main__")

    outcome = forked(work, folder)
    return refused_or(outcome, table, f"score.py on {table.told}",
                      lambda: check_predictions(world, "clicks", table, output, outcome))  # fmt: skip


def _to_predict(world: World, draw: random.Random, folder: Path, run: str | None = None) -> tuple[str, Table]:
    run = run or draw.choice(["ranking", "rating", "clicks", "clicks"])
    known = [draw.choices([*USERS, 999], k=30), draw.choices([*ITEMS, 999], k=30)]
    columns = [*known, draw.choices([*PLACES, "elsewhere"], k=30), draw.choices(PRICES, k=30)]
    names = FIELDS if run == "clicks" else FIELDS[:2]
    return run, generate(draw, folder, names, [*zip(*columns[: len(names)], strict=True)])


def check_predictions(world: World, run: str, table: Table, output: Path, outcome: Outcome) -> None:
    """Compare predictions with those of the same values in a clean table."""
    assert table.read is not None
    names = FIELDS if run == "clicks" else FIELDS[:2]
    missing = [name for name in names if name not in table.read[0]]
    need(not missing or run == "clicks", f"no column {missing}")
    need("prediction" not in table.read[0], "a column prediction is overwritten")
    for name in missing:
        need(name in outcome.err or name in outcome.out, f"nothing is said of the missing column {name}")
    answer = frame_of(output)
    need(len(answer) == len(table.read[1]), f"{len(answer)} rows of {len(table.read[1])}")
    columns = [[""] * len(answer) if name in missing else table.column(name) for name in names]
    known = world.predicted[run]
    for row, values in enumerate(zip(*columns, strict=True)):
        if len(names) == 4 and values[3] not in PRICES and number(values[3]) is not None:
            continue  # a price that the clean table does not have
        keys = [tuple(key) for key in _keys(names, values)]
        allowed = [known.get(key, "") for key in keys]
        value = answer["prediction"].iloc[row]
        text = "" if pd.isna(value) else str(value)
        need(any(same(text, one) for one in allowed), f"row {row + 1} {values}: {text}, expected {allowed}")


def _keys(names: tuple[str, ...], values: tuple[str, ...]) -> list[list[str]]:
    """Return the rows of a clean table that a row may mean: one, but where a value is none of its field."""
    keys: list[list[str]] = [[]]
    for name, value in zip(names, values, strict=True):
        ids = {"user": USERS, "item": ITEMS}.get(name)
        if ids is not None:
            plain = integer(value)
            one = ["", "999"] if value in NULLS else [plain if plain in map(str, ids) else "999"]
            if value != plain and value not in NULLS:
                one.append("999")  # 007 may be another id than 7
            if value.lower() == "true":
                one.append("1")  # as a number
            if (found := number(value)) is not None and found.is_integer() and int(found) in ids:
                one.append(str(int(found)))
        elif name == "place":
            one = [value if value in PLACES else "elsewhere", *([""] if value in NULLS else [])]
        else:
            one = [value if value in PRICES else ""]
        keys = [[*key, part] for key in keys for part in one]
    return keys


# ---- lists of ids, and histories


def ids_file(draw: random.Random, folder: Path, known: range) -> tuple[Table, list[str]]:
    """Write a file with an id in each line, and return it with the ids that are meant."""
    ids = [str(one) for one in draw.sample(known, 6)]
    told = []
    if draw.random() < 0.6:
        odd = draw.choice(ODD)
        ids[draw.randrange(6)] = odd
        told.append(repr(odd[:24]))
    text = draw.choice(["\n", "\r\n"]).join(ids) + draw.choice(["", "\n", "\n\n"])
    encoding = draw.choice(["utf-8"] * 4 + ["utf-8-sig", "utf-16", "latin-1", "utf-16-le"])
    content = text.encode(encoding, errors="replace")
    if draw.random() < 0.2:
        place = draw.randrange(len(content) + 1)
        content = content[:place] + draw.choice([b"\0", b"\xff", b"\r", b",", b'"', b"\t"]) + content[place:]
        told.append(f"a byte at {place}")
    path = folder / "ids.txt"
    path.write_bytes(content)
    good = not told and encoding in ("utf-8", "utf-8-sig", "utf-16")
    meant = [part.strip("\ufeff \t\r") for part in re.split(r"[\n\r,]", "\n".join(ids))]
    table = Table(path, "\n", f"ids in {encoding}; {'; '.join(told)}", good, (["id"], [[x] for x in meant]))
    return table, [x for x in meant if x]


def recommend(world: World, draw: random.Random, folder: Path) -> Verdict:
    run = draw.choice(["ranking", "rating", "clicks"])
    if run == "ranking" and draw.random() < 0.4:
        return histories(world, draw, folder)
    table, users = ids_file(draw, folder, USERS)
    outcome = forked(command("recommend", "--run", world.folder / run, "--users_file", table.path, "--k", 5), folder)
    return refused_or(outcome, table, f"recommend {run} to {table.told}",
                      lambda: check_lists(outcome, users, world.lists[run]))  # fmt: skip


def similar(world: World, draw: random.Random, folder: Path) -> Verdict:
    run = draw.choice(["ranking", "rating", "clicks"])
    table, items = ids_file(draw, folder, ITEMS)
    outcome = forked(command("similar", "--run", world.folder / run, "--items_file", table.path, "--k", 5), folder)
    return refused_or(outcome, table, f"similar {run} to {table.told}",
                      lambda: check_lists(outcome, items, world.similar[run]))  # fmt: skip


def check_lists(outcome: Outcome, asked: list[str], known: dict[str, list[list[str]]]) -> None:
    """Compare printed lists with those of the same ids asked for alone."""
    found = by_key([line.split(",") for line in outcome.out.splitlines()[1:]])
    wanted = {integer(one) for one in asked}
    need({*found} == wanted, f"lists of {sorted(found)[:4]}, asked for {sorted(wanted)[:4]}")
    for key, rows in found.items():
        known_rows = known.get(key, [])
        once = [list(row[:4]) for row in dict.fromkeys(map(tuple, rows))]  # who is asked for twice is answered twice
        need(same(once[:5], known_rows), f"another list of {key}: {rows}, {known_rows}")


def histories(world: World, draw: random.Random, folder: Path) -> Verdict:
    """Recommend for a table of new users' histories."""
    given = [(f"n{draw.randrange(5)}", item) for item in draw.choices(ITEMS, k=20)]
    table = generate(draw, folder, ("user", "item"), given, "histories")
    words = ["--run", world.folder / "ranking", "--k", 5]
    outcome = forked(command("recommend", *words, "--histories_file", table.path), folder)

    def check() -> None:
        assert table.read is not None
        need({"user", "item"} <= {*table.read[0]}, "there are no columns user and item")
        of: dict[str, list[str]] = {}
        for user, item in zip(table.column("user"), table.column("item"), strict=True):
            need(user, "a user is missing")
            need(integer(item) in map(str, ITEMS) or item in outcome.err, f"nothing is said of the item {item!r}")
            of.setdefault(user, []).append(integer(item))
        found = by_key(list(csv.reader(io.StringIO(outcome.out, newline="")))[1:])
        need({*found} == {*of}, f"lists of {sorted(found)[:4]}, of {sorted(of)[:4]}")
        if not of:
            return
        one = draw.choice(sorted(of))
        alone = forked(command("recommend", *words, "--history", ",".join(of[one])), folder)
        rows = [line.split(",")[1:] for line in alone.out.splitlines()[1:]]
        need(same([row[1:] for row in found[one]], rows), f"another list of {one}")

    return refused_or(outcome, table, f"recommend to {table.told}", check)


CASES: dict[str, Callable[[World, random.Random, Path], Verdict]] = {
    "fit": lambda world, draw, folder: (fit_events if draw.random() < 0.4 else fit_log)(world, draw, folder),
    "predict": predict,
    "recommend": recommend,
    "similar": similar,
    "export": score,
}
