"""Every configuration in conf/ is read, and those of the models run on made-up data."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from recgnn.cli.entry import main

CONF = Path(__file__).parents[1] / "conf"
EVERY = sorted(CONF.rglob("*.yaml"))
MODELS = sorted(CONF.glob("*.yaml"))
SYNTHETIC = """\
data: {init_args: {source: {class_path: SyntheticLog, init_args: {num_users: 60, num_items: 50}}}}
trainer: {accelerator: cpu, max_epochs: 1, enable_progress_bar: false}
"""
EVENTS = """\
user,item,rating,timestamp,age,gender,occupation,zip,release_year,genres
1,2,5,1000000,24,M,writer,01234,1995,Action|Drama
2,1,3,1000060,31,F,other,01235,,Comedy
"""


def name_of(path: Path) -> str:
    return str(path.relative_to(CONF))


def is_training(path: Path) -> bool:
    return path.parent.name not in ("sweeps", "suites")


def test_there_are_configurations():
    assert {"mf.yaml", "gcn.yaml", "ngcf.yaml", "lightgcn.yaml"} <= {p.name for p in MODELS}


@pytest.mark.parametrize("path", EVERY, ids=name_of)
def test_it_says_how_to_run_it(path):
    text = path.read_text(encoding="utf-8")
    assert isinstance(yaml.safe_load(text), dict)
    comments = " ".join(line.removeprefix("#") for line in text.splitlines() if line.startswith("#"))
    assert name_of(path) in comments, "its first lines hold the command that uses it"


@pytest.mark.parametrize("path", [p for p in EVERY if is_training(p) and p not in MODELS], ids=name_of)
def test_the_parser_accepts_it(path, here, capsys):
    """With every option known, and no value lost."""
    with pytest.raises(SystemExit) as stop:
        main("fit", ["--config", str(path), "--print_config"])
    assert not stop.value.code
    parsed, given = yaml.safe_load(capsys.readouterr().out), yaml.safe_load(path.read_text())
    assert not contradictions(given, parsed)


def contradictions(given, parsed, place="") -> list[str]:
    if isinstance(given, dict) and isinstance(parsed, dict):
        if "init_args" in parsed and "class_path" not in given:
            parsed = parsed["init_args"]  # options of the default class
        return [c for k, v in given.items() for c in contradictions(v, parsed.get(k), f"{place}.{k}")]
    if isinstance(given, list) and isinstance(parsed, list) and len(given) == len(parsed):
        return [c for i, v in enumerate(given) for c in contradictions(v, parsed[i], f"{place}[{i}]")]
    if isinstance(given, str) and isinstance(parsed, dict):
        parsed, place = parsed.get("class_path"), f"{place}.class_path"  # a class by its name alone
    if place.endswith(".class_path"):
        given, parsed = given.rpartition(".")[2], str(parsed).rpartition(".")[2]
    return [] if given == parsed else [f"{place}: {given} became {parsed}"]


@pytest.mark.parametrize("path", MODELS, ids=name_of)
def test_it_runs(path, here, capsys):
    (here / "synthetic.yaml").write_text(SYNTHETIC)
    if yaml.safe_load(path.read_text())["data"]["class_path"] == "CTRDataModule":
        head, *rows = EVENTS.splitlines()
        (here / "synthetic.csv").write_text("\n".join([head, *rows * 50]))
        source = "{class_path: EventTable, init_args: {path: synthetic.csv}}"
        (here / "synthetic.yaml").write_text(f"data: {{init_args: {{source: {source}}}}}\n{SYNTHETIC.splitlines()[1]}")
    done = main("fit", ["--config", str(path), "--config", "synthetic.yaml"])
    parsed, given = yaml.safe_load((done.run_dir / "config.yaml").read_text()), yaml.safe_load(path.read_text())
    for section, replaced in (("data", {"source"}), ("trainer", {"accelerator", "max_epochs", "enable_progress_bar"})):
        arguments = given.get(section, {})
        arguments = arguments.get("init_args", arguments)
        for name in replaced & arguments.keys():  # by the made-up data and their short training
            del arguments[name]
    assert not contradictions(given, parsed)
    model = type(done.model.model).__name__.lower()
    assert done.run_dir == Path(f"runs/{model}-synthetic/1")
    assert path.stem.replace("_", "").startswith(model)
    assert (done.run_dir / "metrics.json").is_file() and (done.run_dir / "checkpoints/best.ckpt").is_file()
    assert done.datamodule.name == "synthetic"
    task = "predict" if done.model.task == "clicks" else "recommend"
    assert f"next        python -m recgnn.{task}" in capsys.readouterr().out
