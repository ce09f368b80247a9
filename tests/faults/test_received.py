"""A run folder from somebody else whose texts are hostile: no command imports, runs or writes what it names.

Each variant replaces the texts of one file, seals included, and every command that reads the file is tried on it.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml

from recgnn.data.stored import sealed_text, write_json

EVIL = """\
from pathlib import Path
Path("EXECUTED").touch()
from lightning import Callback
from recgnn.models import MF

class Evil(Callback):
    pass
"""
TAG, NAME = "<script>alert(1)</script>", "x\x1b[31m<script>alert(1)</script>|$\\frac$[a](javascript:1)[/red]"
DEEP, LAUGHS = "[" * 3000, "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))
COMMANDS: dict[str, tuple[str, ...]] = {
    "test": ("test", "--run", "run", "--output", "out/test.json"),
    "validate": ("validate", "run", "--output", "out/val.json"),
    "recommend": ("recommend", "--run", "run", "--users", "1", "--k", "2", "--output", "out/recs.csv"),
    "similar": ("similar", "--run", "run", "--items", "1", "--k", "2", "--output", "out/similar.csv"),
    "predict": ("predict", "--run", "run", "--input", "rows.csv", "--output", "out/predicted.csv"),
    "evaluate": ("evaluate", "--run", "run", "--recommendations", "rows.csv", "--output", "out/evaluated"),
    "export": ("export", "--run", "run", "--format", "torch", "--output", "out/export"),
    "compare": ("compare", "run", "--output", "out/compared"),
    "dashboard": ("dashboard", "--output", "out/workspace.json"),
}
LOADING = ("test", "recommend", "export")  # the three ways in which a checkpoint is read
Change = Callable[[Path], None]


class Payload:
    def __reduce__(self):
        return exec, ("open('EXECUTED', 'w')",)


# ---- variants: what is changed, and which commands must refuse it


def of_config(change: Callable[[Any], Any]) -> Change:
    """Replace config.yaml's content, and seal it, also in metrics.json."""

    def apply(run: Path) -> None:
        config = change(yaml.safe_load((run / "config.yaml").read_text()))
        text = config if isinstance(config, str) else yaml.safe_dump(config)
        (run / "config.yaml").write_text(sealed_text("# hello\n", text))
        checksum = hashlib.sha256((run / "config.yaml").read_bytes()).hexdigest()
        of_json("metrics.json", lambda c: c | {"files": c.get("files", {}) | {"config.yaml": checksum}})(run)

    return apply


def at(*place: str, value: Any) -> Change:
    """Set one value of config.yaml."""

    def change(config: Any) -> Any:
        inner = config
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
        return config

    return of_config(change)


def all_classes(value: Any) -> Any:
    """Every class in a configuration becomes the hostile one."""
    if isinstance(value, dict):
        return {k: "evil.Evil" if k == "class_path" else all_classes(v) for k, v in value.items()}
    return [all_classes(v) for v in value] if isinstance(value, list) else value


def of_checkpoint(change: Callable[[dict], None]) -> Change:
    def apply(run: Path) -> None:
        path = run / "checkpoints/best.ckpt"
        content = torch.load(path, weights_only=True)
        change(content)
        torch.save(content, path)

    return apply


def of_json(name: str, change: Callable[[dict], Any]) -> Change:
    def apply(run: Path) -> None:
        content = json.loads((run / name).read_text())
        del content["sha256"]
        write_json(run / name, change(content), sealed=True)

    return apply


def texts(value: Any, text: str) -> Any:
    """Every text of JSON, also of keys that are no words of ours, becomes `text`."""
    if isinstance(value, dict):
        return {k: texts(v, text) for k, v in value.items()}
    return [texts(v, text) for v in value] if isinstance(value, list) else text if isinstance(value, str) else value


def bomb(run: Path) -> None:
    with zipfile.ZipFile(run / "checkpoints/best.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(50_000_000))


def bare_pickle(run: Path) -> None:
    (run / "checkpoints/best.ckpt").write_bytes(pickle.dumps({"state_dict": {}, "x": Payload()}))


def replaced(name: str, by: str) -> Change:
    """Put a text, or a link to a device, in a file's place."""

    def apply(run: Path) -> None:
        (run / name).unlink()
        (run / name).symlink_to(by) if by.startswith("/dev") else (run / name).write_text(by)

    return apply


evil, path = {"class_path": "evil.Evil"}, "evil.Evil"
TRAINER = {"callbacks": [evil], "logger": evil, "profiler": evil, "plugins": [evil], "strategy": path,
           "accelerator": path, "precision": path, "default_root_dir": "outside"}  # fmt: skip
CALL = {"output": "outside.json", "run_dir": "../outside", "run": "/tmp", "ckpt_path": "/x", "config": "evil.yaml"}
SUMMARY = "vocabulary/summary.json"
CONFIGS: dict[str, tuple[Change, bool, bool]] = {  # change; whether test refuses it, and compare
    "every class": (of_config(all_classes), True, False),
    "data": (at("data", "class_path", value=path), True, False),
    "training": (at("training", "class_path", value=path), True, False),
    "loss": (at("training", "init_args", "loss", value=evil), True, False),
    "a metric": (at("training", "init_args", "metrics", value=["evil.Evil"]), True, False),
    "a class within": (at("training", "init_args", "lr", value=evil), True, False),
    "the model, which the checkpoint names": (at("model", "class_path", value=path), False, False),
    "the source, which is not read": (at("data", "init_args", "source", value=evil), False, False),
    "what is the caller's": (of_config(lambda c: c | CALL | {"trainer": TRAINER, "optimizer": evil}), False, False),
    "prepared data elsewhere": (at("data", "init_args", "prepared", value="../outside"), False, False),
    "names": (of_config(lambda c: texts(c, NAME)), True, False),
    "a tag": (of_config(lambda c: "!!python/object/apply:os.system ['touch EXECUTED']"), True, True),
    "aliases": (of_config(lambda c: f"a0: &a0 [x]\n{LAUGHS}\n"), True, True),
    "an alias of itself": (of_config(lambda c: "data: &a {x: *a}\n"), True, True),
    "deep": (of_config(lambda c: DEEP), True, True),
    "a list": (of_config(lambda c: [TAG]), True, True),
}
METRICS: dict[str, tuple[Change, bool]] = {  # change; whether compare refuses it
    "names": (of_json("metrics.json", lambda c: texts(c, NAME) | {"files": c["files"]}), False),
    "metrics": (of_json("metrics.json", lambda c: c | {"test": {f"{NAME}@{NAME}": 0.5}}), False),
    "groups": (of_json("metrics.json", lambda c: c | {"groups": {NAME: c["groups"].popitem()[1]}}), False),
    "no numbers": (of_json("metrics.json", lambda c: c | {"seconds": TAG}), True),
    "no groups": (of_json("metrics.json", lambda c: c | {"groups": {TAG: [TAG]}}), True),
    "deep": (replaced("metrics.json", DEEP * 40), True),
    "a device": (replaced("metrics.json", "/dev/zero"), True),
    "epochs": (replaced("metrics.csv", f"epoch,{TAG}\n1,{TAG}\n"), True),
}
DATA: dict[str, tuple[Change, str]] = {  # change; the commands that refuse it
    "files elsewhere": (of_json(SUMMARY, lambda c: c | {"files": {"../../x": "0" * 64}}), "test recommend compare"),
    "names": (of_json(SUMMARY, lambda c: texts(c, NAME) | {"files": c["files"]}), ""),
    "deep": (replaced(SUMMARY, DEEP * 40), "test recommend compare"),
    "a device": (replaced(SUMMARY, "/dev/zero"), "test recommend compare"),
    "ids from a device": (replaced("vocabulary/items.parquet", "/dev/zero"), "test recommend"),
}
CHECKPOINTS: dict[str, Change] = {
    "the model's class": of_checkpoint(lambda c: c["recgnn"].update(model=path)),
    "a pickle": of_checkpoint(lambda c: c.update(x=Payload())),
    "a bare pickle": bare_pickle,
    "a bomb": bomb,
    "unknown arguments": of_checkpoint(lambda c: c["recgnn"]["arguments"].update({TAG: 1})),
    "no model": of_checkpoint(lambda c: c["recgnn"].update(model=None)),
    "no arguments": of_checkpoint(lambda c: c["recgnn"].update(arguments=None)),
    "arguments in a list": of_checkpoint(lambda c: c["recgnn"].update(arguments=[TAG])),
    "trained for nothing": of_checkpoint(lambda c: c["recgnn"].update(trained=[TAG])),
    "nothing of ours": of_checkpoint(lambda c: c.update(recgnn=None)),
    "no weights": of_checkpoint(lambda c: c.update(state_dict=[None])),
    "weights that are none": of_checkpoint(lambda c: c.update(state_dict=dict.fromkeys(c["state_dict"]))),
}


@pytest.fixture
def tried(here, entry, monkeypatch) -> Callable[..., None]:
    """Changes a copy of a run, and tries commands on it; `refusing` are those that must refuse it."""
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    monkeypatch.syspath_prepend(str(here))
    (here / "evil.py").write_text(EVIL)
    pd.DataFrame({"user": [1], "item": [1], "place": ["home"]}).to_csv("rows.csv", index=False)

    def check(source: Path, changes: list[Change], commands: Iterable[str], refusing: Iterable[str]) -> None:
        shutil.copytree(source, here / "run")
        for change in changes:
            change(here / "run")
        before = contents(here)
        for command in commands:
            code, out, err = entry(*COMMANDS[command])
            told = f"{command}: {code} {out}{err}"
            assert "Traceback" not in err and code == (2 if command in refusing else 0), told
            assert code == 0 or (err.count("\n") == 1 and err.startswith("error: ")), told
            assert "\x1b" not in out + err and not (here / "EXECUTED").exists() and "evil" not in sys.modules, told
        for page in (here / "out").rglob("*.[mh][dt]*"):  # compare.md, compare.html, README.md
            text = page.read_text()
            assert TAG not in text and "\x1b" not in text and (page.suffix == ".html" or "](java" not in text)
        shutil.rmtree(here / "out", ignore_errors=True)
        assert contents(here) == before, "nothing is written but where the person said"
        shutil.rmtree(here / "run")

    return check


@pytest.mark.parametrize("name", CONFIGS)
def test_a_hostile_configuration(name, tiny_run, click_run, tried) -> None:
    change, *refused = CONFIGS[name]
    run = (tiny_run, click_run)[list(CONFIGS).index(name) % 2]
    refusing = [command for command, refuses in zip(("test", "compare"), refused, strict=True) if refuses]
    tried(run, [change], {"test", *refusing, *(["compare"] if name in ("every class", "names") else [])}, refusing)


def test_a_configuration_of_another_run(tiny_run, click_run, tried) -> None:
    """Whole and sealed, but not what the results are of."""
    tried(tiny_run, [lambda run: shutil.copyfile(click_run / "config.yaml", run / "config.yaml")], *[["test"]] * 2)


@pytest.mark.parametrize("name", METRICS)
def test_hostile_results(name, tiny_run, tried) -> None:
    change, refused = METRICS[name]
    tried(tiny_run, [change], ("compare",), ("compare",) if refused else ())


@pytest.mark.parametrize("name", DATA)
def test_hostile_data(name, tiny_run, click_run, tried) -> None:
    change, refusing = DATA[name]
    for run in (tiny_run, click_run):
        tried(run, [change], refusing.split() or ("recommend",), refusing)


def test_hostile_checkpoints(tiny_run, click_run, tried) -> None:
    for number, change in enumerate(CHECKPOINTS.values()):
        tried((tiny_run, click_run)[number % 2], [change], LOADING, LOADING)


def test_every_text_is_hostile(tiny_run, click_run, tried) -> None:
    """All files at once, in each command."""
    changes = [CHECKPOINTS["the model's class"], CONFIGS["every class"][0], DATA["files elsewhere"][0]]
    for run in (tiny_run, click_run):
        tried(run, [*changes, METRICS["names"][0]], COMMANDS, set(COMMANDS) - {"dashboard"})


def contents(folder: Path) -> dict[str, bytes]:
    """All files; without the number of readings of the test part, which `test` counts."""
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    counted = re.compile(rb'"(test_reads|sha256)": ("\w+"|\d+)')
    return {
        str(path.relative_to(folder)): counted.sub(b"", path.read_bytes()) if path.name == "metrics.json"
        else path.read_bytes() for path in files
    }  # fmt: skip


def test_trust_imports_what_the_person_trusts(tiny_run, here, entry, monkeypatch) -> None:
    """The same metric, from a module of one's own: refused, and taken with --trust."""
    monkeypatch.syspath_prepend(str(here))
    module = "from recgnn.evaluation.metrics.ranking import Recall\nclass Own(Recall):\n    pass\n"
    (here / "own_metric.py").write_text(module)
    shutil.copytree(tiny_run, here / "run")
    at("training", "init_args", "metrics", value=["ndcg", {"class_path": "own_metric.Own"}])(here / "run")
    code, _, err = entry("test", "--run", "run")
    assert code == 2 and "own_metric.Own is not one of recgnn's" in err and "--trust" in err
    code, out, err = entry("test", "--run", "run", "--trust")
    assert code == 0 and "ndcg@10" in out, err
    sys.modules.pop("own_metric", None)
