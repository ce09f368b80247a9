"""Fuzzed YAML, JSON and options, by type, for every command."""

from __future__ import annotations

import contextlib
import copy
import csv
import json
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.faults.forked import Outcome, command, forked
from tests.faults.tables import OF_TEXT
from tests.faults.world import ITEMS, RUNS, USERS, Verdict, World, Wrong, judged, same

VALUES = (
    "", " ", "null", "None", "true", "false", "yes", "-1", "0", "1", "2", "7", "-0", "0.5", "-0.5", "1.5", "1e-3",
    "1e3", "nan", ".nan", "inf", ".inf", "-.inf", "1e400", "10000000000000", "9" * 30, "abc", "é№", "[]", "[1]", "[0]",
    "[-1]", "[1, a]", "[[1]]", "[5, 5]", "{}", "{a: 1}", "{class_path: os.system}", "{class_path: LightGCN}", "{1: 2}",
    "*a", "!!python/object/apply:os.getcwd []", "&a [*a]", "a: b: c", "'", '"', "[", "{", "-", "--", "=", "../x",
    "/proc", "~", "@", "x" * 5000, "[" * 3000, "{a: " * 1500, "\n", "0x10", "1_000", "012", "0o17", "1,2", ",", "1:30",
    "2020-01-01", "%s", "${HOME}", "<script>alert(1)</script>", "\x1b[31m",
)  # fmt: skip
BOMB = "".join(f"{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'x'}]\n" for n in range(14))
HOSTILE = (
    "", " ", "\n", "[]", "- a\n- b\n", "x", "null", "{", "a: [", "a:\n\t- b", "\0", "---\na: 1\n---\nb: 2\n",
    "!!python/name:os.system", BOMB, "[" * 3000, "a: " * 3000, "? [a]\n: b", "&x a: *x", "<<: *none",
    "<<: 1\nmodel: MF", "a: !!binary x", "\ufeffmodel: MF", "%YAML 9.9\n---\na",
)  # fmt: skip
Value = bool | None  # whether a value of an option must be taken, or refused; None if both are right


def meaning(text: str) -> Any:
    """Return a value as JSON or a number; the text itself if it is neither."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text.strip()


def whole(low: int, high: int = 10**5) -> Callable[[str], Value]:
    """Whether a text is an integer between two bounds."""

    def check(text: str) -> Value:
        value = meaning(text)
        if isinstance(value, int) and not isinstance(value, bool):
            return low <= value <= high or (None if value > high else False)
        if isinstance(value, float):
            return None if value.is_integer() and value >= low else False
        return None if isinstance(value, str) and any(c.isdigit() for c in value[:9]) else False

    return check


def real(low: float, high: float = math.inf, edge: Value = None) -> Callable[[str], Value]:
    """Whether a text is a finite number between two bounds; `edge` for the lower one itself."""

    def check(text: str) -> Value:
        value = meaning(text)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None if isinstance(value, str) and any(c.isdigit() for c in value[:9]) else False
        return edge if value == low else None if value > 1e6 and math.isfinite(value) else low < value < high

    return check


def either(_: str) -> Value:
    return None


def optional(check: Callable[[str], Value]) -> Callable[[str], Value]:
    """`check`, or nothing."""
    return lambda text: None if text.strip() in ("null", "None", "~", "") else check(text)


def ks(text: str) -> Value:
    value = meaning(text)
    if not isinstance(value, list) or not all(isinstance(k, int) and 1 <= k <= len(ITEMS) for k in value):
        return False if isinstance(value, list) else None
    return bool(value) and len({*value}) == len(value) or None


def others(names: str) -> dict[str, Callable[[str], Value]]:
    """Return options of which nothing is known but that no value may end in a traceback."""
    return dict.fromkeys(names.split(), either)


FIT = others("""
    training.popularity_alpha training.metrics training.loss training.negatives data.sampling data.split
    data.split.ratios data.split.seed data.filters data.source.path data.source.user data.source.rating
    data.source.separator data.source.encoding data.source.columns seed_everything trainer.max_epochs
    trainer.check_val_every_n_epoch trainer.limit_val_batches trainer.limit_train_batches trainer.limit_test_batches
    trainer.gradient_clip_val trainer.precision trainer.accelerator trainer.devices trainer.callbacks
    trainer.log_every_n_steps trainer.logger trainer.default_root_dir trainer.strategy trainer.min_epochs
    trainer.max_time trainer.val_check_interval run_dir refit overwrite ckpt_path optimizer optimizer.lr lr_scheduler
    model training data config log_checkpoints
""") | {
    "model.embedding_dim": whole(1), "model.num_layers": whole(0, 20), "training.lr": optional(real(0)),
    "training.l2": optional(real(0, edge=True)), "training.num_negatives": whole(1, 50), "training.ks": ks,
    "data.batch_size": optional(whole(1)), "data.eval_batch_size": optional(whole(1)),
    "trainer.accumulate_grad_batches": whole(1),
}  # fmt: skip
CLICKS = others("""
    model.hidden_dims training.l2_on training.table_optimizer training.metrics data.label data.fields data.negatives
    data.negatives_seed data.group data.task data.history data.report_by data.split data.source.columns
""") | {
    "model.embedding_dim": whole(1), "model.dropout": real(0, 1, edge=True), "training.lr": optional(real(0)),
    "training.l2": optional(real(0, edge=True)), "training.table_lr": optional(real(0)),
    "data.batch_size": optional(whole(1)), "data.eval_batch_size": whole(1),
}  # fmt: skip
MEASURE = {"training.ks": ks, "data.eval_batch_size": optional(whole(1))} | others("""
    training.metrics output ckpt_path trainer.devices trainer.precision trainer.limit_test_batches run data.source
    training.lr model.embedding_dim seed_everything config data.prepared
""")
FILTERS = "candidates candidates_file exclude exclude_file"
SERVE: dict[str, dict[str, Callable[[str], Value]]] = {
    "recommend": {"k": whole(1)}
    | others(f"""
        users users_file history history_ratings histories_file context fallback output run include_seen {FILTERS}
    """),
    "similar": {"k": whole(1)} | others(f"items items_file output run {FILTERS}"),
    "predict": others("input user item output run"),
    "export": others("format output index run"),
    "compare": others("metric baseline output open"),
    "benchmark": others("suite configs seeds runs root"),
    "tune": {"trials": whole(1)} | others("timeout seed max_epochs prune keep space config output"),
}
NEVER = {  # what no case has the time or the place for
    ("compare", "open", "yes"),
    *(("fit", "trainer.max_epochs", value) for value in ("-1", "10000000000000", "9" * 30)),
    *((command, "trainer.devices", "7") for command in ("fit", "validate", "test")),
}


def options(world: World, draw: random.Random, folder: Path, name: str) -> Verdict:
    """Give a command one option, or two, of a value of any type."""
    run = draw.choice(RUNS if name in ("validate", "test", "predict", "recommend", "similar", "export") else RUNS[::2])
    table = {"validate": MEASURE, "test": MEASURE, "fit": CLICKS if run == "clicks" else FIT}.get(name) or SERVE[name]
    words = [str(word) for word in _base(world, name, run, folder)]
    chosen = {key: draw.choice(VALUES) for key in draw.sample(sorted(table), draw.choice([1, 1, 1, 2]))}
    chosen = {key: "1" if (name, key, value) in NEVER else value for key, value in chosen.items()}
    more = []
    for key, value in chosen.items():
        if key in ("ckpt_path", "config", "run", "input", "users_file", "histories_file") and draw.random() < 0.4:
            there = [*world.folder.glob("*"), *world.folder.glob("*/*"), *world.folder.glob("ranking/*/*")]
            value = chosen[key] = str(draw.choice([path for path in sorted(there) if "cases" not in path.parts]))
        more += [f"--{key}={value}"] if draw.random() < 0.7 else [f"--{key}", value]
    what = f"{name} ({run}) {' '.join(word[:90] for word in more)!r}"
    before = set(_outside(world))
    outcome = forked(command(name, *words, *more), folder)
    verdict = judged(outcome, what)
    extra = set(_outside(world)) - before
    if extra and not any("../x" in value for value in chosen.values()):
        return Verdict("silent wrong", what, f"writes outside of its folder: {sorted(extra)[:3]}")
    expected = [table[key](value) for key, value in chosen.items()]
    if verdict is not None:
        one_failed = name == "benchmark" and outcome.code == 1 and "Traceback" not in outcome.err
        return verdict._replace(outcome="refused") if one_failed else verdict
    if False in expected:
        return Verdict("silent wrong", what, "a value that cannot be meant was taken")
    known = world.metrics[run] if "ckpt_path" not in chosen else {}
    return checked(what, lambda: _sane(known, name, folder, outcome))


def _outside(world: World) -> Iterator[str]:
    for path in [*world.folder.glob("*"), *world.folder.glob("*/*"), *(world.folder / "cases").glob("*")]:
        if not path.name.endswith(".outcome"):
            yield str(path)


def _base(world: World, name: str, run: str, folder: Path) -> list[object]:
    """Return the options with which a command ends well."""
    place = world.folder / run
    if name == "fit":
        return ["--config", world.folder / f"{run}.yaml", "--run_dir=run", "--trainer.max_epochs=1"]
    if name == "compare":
        return [world.folder / run, "--output=compared"]
    if name == "benchmark":
        return ["--configs", world.folder / f"{run}.yaml", "--seeds=1", "--runs=runs", "--", "--trainer.max_epochs=1"]
    if name == "tune":
        return [*world.tuning("search", 1), "--max_epochs=1"]
    rows = world.folder / ("grid.csv" if run == "clicks" else "pairs.csv")
    more = {"similar": ["--items=1,2"], "predict": ["--input", rows, "--output=answer.csv"], "recommend": ["--k=3"],
            "export": ["--format=embeddings", "--output=exported"]}  # fmt: skip
    return ["--run", place, *more.get(name, [])]


def checked(what: str, check: Callable[[], None]) -> Verdict:
    try:
        check()
    except Wrong as error:
        return Verdict("silent wrong", what, str(error))
    return Verdict("right", what)


def _sane(metrics: dict, name: str, folder: Path, outcome: Outcome) -> None:
    """Check what holds whatever the options were: numbers are finite, tables have rows, metrics are known ones."""
    if name == "fit" and (folder / "run" / "metrics.json").is_file():
        content = strict_json(folder / "run" / "metrics.json")
        for part in ("val", "test"):
            for key, value in (content.get(part) or {}).items():
                if value is not None and not math.isfinite(value):
                    raise Wrong(f"{part} {key} is {value}")
    if name in ("validate", "test"):
        shown = {
            line.split("│")[1].strip(): line.split("│")[2].strip() for line in outcome.out.splitlines() if "│" in line
        }
        known = metrics.get("val" if name == "validate" else "test", {})
        for key, text in shown.items():
            if key in known and key != "metric" and known[key] is not None and abs(float(text) - known[key]) > 6e-4:
                raise Wrong(f"{key} is {text}, in metrics.json {known[key]:.4f}")
    if name in ("recommend", "similar") and outcome.out.startswith(("user", "item")):
        rows = list(csv.reader(outcome.out.splitlines()))
        ids = {*map(str, USERS), "new"} if name == "recommend" else {*map(str, ITEMS)}
        if name == "similar" and not {row[0] for row in rows[1:]} <= ids:
            raise Wrong(f"lists of {sorted({row[0] for row in rows[1:]} - ids)[:3]}")
        if any(row[3] in ("", "nan") for row in rows[1:]):
            raise Wrong("a score is not finite")


def strict_json(path: Path) -> dict:
    def refuse(name: str) -> None:
        raise Wrong(f"{path.name} holds {name}, which is no JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


# ---- YAML


def damaged_yaml(draw: random.Random, content: Any) -> tuple[str, str]:
    """Return a YAML text with a fault, and what the fault is."""
    if draw.random() < 0.15:
        text = draw.choice(HOSTILE)
        return text, f"the text {text[:40]!r}"
    if draw.random() < 0.35:
        return draw.choice(OF_TEXT)(draw, yaml.safe_dump(content, allow_unicode=True))
    content = copy.deepcopy(content)
    node, key, place = draw.choice(list(_nodes(content)))
    how = draw.choice(["value", "value", "value", "gone", "other", "key", "twice"])
    if how == "value":
        value = draw.choice(VALUES)
        with contextlib.suppress(yaml.YAMLError, RecursionError, ValueError, TypeError):
            value = yaml.safe_load(value)
        node[key] = value
        return _dumped(content), f"{place} = {str(value)[:40]!r}"
    if how == "gone":
        del node[key]
    elif how == "other":
        node[key] = draw.choice([None, [], {}, [node[key]], {"a": node[key]}, str(node[key])])
    elif isinstance(node, dict):
        other = draw.choice([f"{key}s", str(key).upper(), "", 7, "class_path", "init_args", str(key)[:-1]])
        node[other] = node[key] if how == "twice" else node.pop(key)
    return _dumped(content), f"{place}: {how}"


def _dumped(content: Any) -> str:
    try:
        return yaml.safe_dump(content, allow_unicode=True, sort_keys=False)
    except (yaml.YAMLError, RecursionError, TypeError):
        return "a: ["


def _nodes(content: Any, place: str = "") -> Iterator[tuple[Any, Any, str]]:
    """Yield every value below a dict or list as (container, key, dotted place)."""
    for key in list(content) if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else []:
        yield content, key, f"{place}.{key}"
        yield from _nodes(content[key], f"{place}.{key}")


def configurations(world: World, draw: random.Random, folder: Path, name: str) -> Verdict:
    """Give fit, benchmark or tune a YAML with a fault; a configuration that is taken must be the one that is run."""
    run = draw.choice(["ranking", "clicks"])
    config, suite, space = world.config(run), {}, {}
    if name == "benchmark":
        suite = {"description": "x", "configs": [{"config": str(world.folder / f"{run}.yaml"), "name": "a",
                 "options": {"training.lr": 0.1}}], "seeds": [1], "options": {"trainer.max_epochs": 1}}  # fmt: skip
    if name == "tune":
        space = {"method": "random", "metric": {"name": "val/ndcg@5", "goal": "maximize"}, "run_cap": 1,
                 "parameters": {"training.lr": {"min": 0.001, "max": 0.1}, "model.embedding_dim": {"values": [4, 8]}},
                 "early_terminate": {"type": "hyperband", "min_iter": 1}}  # fmt: skip
    text, what = damaged_yaml(draw, suite or space or config)
    path = folder / "given.yaml"
    path.write_text(text, encoding="utf-8", newline="")
    words = {
        "fit": ["--config", path, "--run_dir=run", "--trainer.max_epochs=1"],
        "benchmark": ["--suite", path, "--runs=runs"],
        "tune": [
            "--config",
            world.folder / "ranking.yaml",
            "--space",
            path,
            "--output=search",
            "--max_epochs=1",
            "--trials=1",
        ],
    }[name]
    what = f"{name} of a YAML with {what}"
    before = set(_outside(world))
    outcome = forked(command(name, *words), folder)
    if extra := set(_outside(world)) - before:
        return Verdict("silent wrong", what, f"writes outside of its folder: {sorted(extra)[:3]}")
    if (verdict := judged(outcome, what)) is not None:
        one_failed = name == "benchmark" and outcome.code == 1 and "Traceback" not in outcome.err
        return verdict._replace(outcome="refused") if one_failed else verdict

    def check() -> None:
        try:
            given = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # with tabs, as 1.2
        except yaml.YAMLError as error:
            raise Wrong(f"no YAML, and taken: {str(error).splitlines()[0]}") from None
        if name == "fit":
            stored = yaml.safe_load((folder / "run" / "config.yaml").read_text(encoding="utf-8"))
            _included({k: v for k, v in given.items() if k in ("model", "training", "data")}, stored, "")
            strict_json(folder / "run" / "metrics.json")
        elif not (folder / ("runs/compare/compare.csv" if name == "benchmark" else "search/trials.csv")).is_file():
            raise Wrong("nothing was written")

    return checked(what, check)


def _included(given: Any, stored: Any, place: str) -> None:
    """Raise Wrong where a configuration is not part of the one that was run."""
    if isinstance(given, dict) and isinstance(stored, dict):
        for key, value in given.items():
            if key not in stored and "init_args" in stored:
                stored = {**stored, **stored["init_args"]}
            if value is not None and key not in stored:
                raise Wrong(f"{place}.{key} is not in the run's configuration")
            _included(value, stored.get(key), f"{place}.{key}")
    elif isinstance(stored, dict) and isinstance(given, str):
        if stored.get("class_path", "").rpartition(".")[2] != given.rpartition(".")[2]:
            raise Wrong(f"{place} is {given}, run was {str(stored)[:60]}")
    elif (
        given is not None
        and not same(given, stored)
        and str(given).rpartition(".")[2] != str(stored).rpartition(".")[2]
    ):
        if not (isinstance(given, str) and same(meaning(given), stored)):
            raise Wrong(f"{place} is {str(given)[:60]!r}, run was {str(stored)[:60]!r}")


# ---- JSON


def results(world: World, draw: random.Random, folder: Path, name: str) -> Verdict:
    """Compare runs of which one has a metrics.json with a fault: it is left out with a word, or shown as it is."""
    for run in ("ranking", "rating"):
        world.run(run, folder)
    path = folder / "rating" / "metrics.json"
    content = json.loads(path.read_text())
    what, changed = "", ""
    if draw.random() < 0.4:
        text, what = draw.choice(OF_TEXT)(draw, path.read_text())
        if draw.random() < 0.3:
            text, what = (
                draw.choice(["", "[]", "null", "1", '"a"', "{}", "[" * 5000, '{"test": NaN}', "{'a': 1}"]),
                "another text",
            )
    else:
        node, key, changed = draw.choice(list(_nodes(content)))
        node[key] = draw.choice(
            [None, [], {}, "x", "<script>", True, -1, 1e308, [[]], {"a": 1}, "9" * 400, math.nan, 10**400]
        )
        text, what = json.dumps(content), f"{changed} = {str(node[key])[:20]!r}"
    path.write_text(text, encoding="utf-8")
    what = f"compare with a metrics.json with {what}"
    outcome = forked(command(name, folder / "ranking", folder / "rating", "--output=compared"), folder)
    if (verdict := judged(outcome, what)) is not None:
        return verdict

    def check() -> None:
        table = (folder / "compared" / "compare.csv").read_text(encoding="utf-8")
        if "LightGCN" not in table:
            raise Wrong("the other run is not there")
        if "MF" not in table and "rating" not in outcome.out + outcome.err:
            raise Wrong("the run is not there, and nothing is said")
        if "<script>" in (folder / "compared" / "compare.md").read_text(encoding="utf-8"):
            raise Wrong("compare.md carries a script")
        strict_json(folder / "compared" / "compare.json")

    return checked(what, check)


FUZZED = {"fit": configurations, "benchmark": configurations, "tune": configurations, "compare": results}
COMMANDS = (*FUZZED, "validate", "test", "recommend", "similar", "predict", "export")


def case(world: World, draw: random.Random, folder: Path, name: str) -> Verdict:
    """Give a command a fuzzed file, where it reads one, or fuzzed options."""
    fuzzed = FUZZED.get(name, options) if draw.random() < 0.65 else options
    return fuzzed(world, draw, folder, name)
