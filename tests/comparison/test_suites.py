"""`python -m recgnn.benchmark`: a list of configurations over seeds, resumed, with failures told at the end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from recgnn.benchmark import split_seed
from recgnn.comparison.suites import read_suite
from recgnn.errors import ConfigError, DataError

ROOT = Path(__file__).parents[2]
CONFIG = """\
data:
  class_path: GraphDataModule
  init_args:
    source: {class_path: SyntheticLog, init_args: {num_users: 40, num_items: 30, seed: 3}}
    split: {class_path: RatioSplit, init_args: {seed: 42}}
model: {class_path: MF, init_args: {embedding_dim: 4}}
training: {ks: [5]}
trainer: {accelerator: cpu, max_epochs: 1, enable_progress_bar: false}
"""


@pytest.fixture
def suite(here) -> Path:
    """A suite of a small configuration, the same of two dimensions, and one that fails."""
    (here / "mf.yaml").write_text(CONFIG)
    (here / "broken.yaml").write_text(CONFIG.replace("embedding_dim: 4", "embedding_dim: -1"))
    small = {"config": "mf.yaml", "name": "small", "options": {"model.embedding_dim": 2}}
    content = {"configs": ["mf.yaml", "broken.yaml", small], "seeds": [1, 2], "options": {"training.lr": 0.1}}
    path = here / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def config_of(run: Path) -> dict:
    return yaml.safe_load((run / "config.yaml").read_text())


def test_a_suite_trains_compares_and_resumes(entry, here, suite) -> None:
    code, out, err = entry("benchmark", "--suite", "mine.yaml", "--runs", "runs/x", "--", "--training.l2=0.5")
    assert code == 1  # one failed, the rest went on
    assert err.count("broken, seed") == 2 and "failed: runs/x/broken/1, runs/x/broken/2" in err
    assert "1/6 mf, seed 1: test ndcg@5" in out
    assert sorted(str(p.parent) for p in here.glob("runs/x/*/*/metrics.json")) == sorted(
        str(here / f"runs/x/{name}/{seed}") for name in ("mf", "small") for seed in (1, 2)
    )
    for seed in (1, 2):
        config = config_of(here / f"runs/x/small/{seed}")
        assert config["seed_everything"] == config["data"]["init_args"]["split"]["init_args"]["seed"] == seed
        training = config["training"]["init_args"]
        assert (config["model"]["init_args"]["embedding_dim"], training["lr"], training["l2"]) == (2, 0.1, 0.5)
    lines = json.loads((here / "runs/x/compare/compare.json").read_text())["lines"]
    assert sorted((line["line"], line["runs"]) for line in lines) == [
        *((f"({name})", 2) for name in ("EASE", "ItemKNN", "most popular")),
        ("MF (embedding_dim 2)", 2),
        ("MF (embedding_dim 4)", 2),
    ]
    assert (here / "runs/x/compare/compare.html").is_file()

    shutil.rmtree(here / "runs/x/mf/2")
    kept = (here / "runs/x/small/1/metrics.json").stat().st_mtime_ns
    (here / "broken.yaml").write_text(CONFIG)  # mended
    code, out, err = entry("benchmark", "--suite", "mine.yaml", "--runs", "runs/x", "--", "--training.l2=0.5")
    assert code == 0 and out.count("finished already") == 3
    assert (here / "runs/x/small/1/metrics.json").stat().st_mtime_ns == kept
    assert (here / "runs/x/mf/2/metrics.json").is_file() and (here / "runs/x/broken/2/metrics.json").is_file()


def test_a_run_that_was_stopped_goes_on_unless_its_options_changed(entry, here) -> None:
    (here / "mf.yaml").write_text(CONFIG)
    call = ["benchmark", "--configs", "mf.yaml", "--seeds", "1", "--runs", "runs", "--"]
    last, result = here / "runs/mf/1/checkpoints/last.ckpt", here / "runs/mf/1/metrics.json"
    written = []
    for options in (["--training.l2=0.5"], ["--training.l2=0.5"], ["--training.l2=0.25"]):
        assert entry(*call, *options)[0] == 0
        written.append(last.stat().st_mtime_ns)
        result.unlink()  # as if it had been stopped behind its last epoch
    first, again, other = written
    assert first == again < other
    assert config_of(here / "runs/mf/1")["training"]["init_args"]["l2"] == 0.25


def test_the_first_half_of_a_refit_is_not_done_twice(entry, here) -> None:
    (here / "mf.yaml").write_text(CONFIG)
    call = ["benchmark", "--configs", "mf.yaml", "--seeds", "1", "--runs", "runs", "--", "--refit=true"]
    assert entry(*call)[0] == 0
    last = here / "runs/mf/1/selection/checkpoints/last.ckpt"
    first = last.stat().st_mtime_ns
    for left in (here / "runs/mf/1").iterdir():  # as if it had been stopped before the second half
        if left.name != "selection":
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    assert entry(*call)[0] == 0
    assert last.stat().st_mtime_ns == first and (here / "runs/mf/1/metrics.json").is_file()


def test_configurations_instead_of_a_suite(entry, here, suite) -> None:
    code, out, _ = entry("benchmark", "--configs", "mf.yaml", "--seeds", 5)
    assert code == 0 and (here / "runs/benchmark/mf/5/metrics.json").is_file()
    assert config_of(here / "runs/benchmark/mf/5")["seed_everything"] == 5
    assert "runs/benchmark/compare/compare.html" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "benchmark needs --suite (a name or a YAML file) or --configs (files), and not both"),
        (["--suite", "mine.yaml", "--configs", "mf.yaml"], "not both"),
        (["--suite", "nowhere"], "nowhere: no such suite; `recgnn configs` lists"),
        (["--configs", "fm.yaml"], "fm.yaml: no such configuration file (did you mean 'mf.yaml'?)"),
        (["--suite", "mine.yaml", "--training.lr=1"], "unknown option --training.lr"),
    ],
)
def test_mistakes_are_one_line(entry, suite, options, message) -> None:
    code, _, err = entry("benchmark", *options)
    assert code == 2 and message in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("configs: []", "expected a suite"),
        ("- mf.yaml", "expected a suite"),
        ("configs: [", "cannot be read as YAML"),
        ("configs: [mf.yaml]\nseed: [1]", r"no field is named 'seed' \(did you mean 'seeds'\?\)"),
        ("configs: [mf.yaml]\nseeds: 3", "seeds are 3; expected a list, each a whole number"),
        ("configs: [mf.yaml]\nseeds: [1, -1]", r"seeds are \[1, -1\]; expected a list"),
        ("configs: [mf.yaml]\nseeds: [true]", r"seeds are \[True\]; expected a list"),
        ("configs: [mf.yaml]\noptions: [a]", r"options are \['a'\], expected option: value"),
        ("configs: [mf.yaml, {config: ./mf.yaml}]", "mf is listed twice; give each a name"),
        ("configs: [{config: mf.yaml, nam: x}]", "no field is named 'nam'"),
        ('configs: [{config: mf.yaml, name: "\\x1b[31m"}]', r"is no name of a folder \(printable"),
        ("configs: [{config: mf.yaml, name: ../../x}]", "name '../../x' is no name of a folder"),
        (f"configs: [{{config: mf.yaml, name: {201 * 'x'}}}]", "is no name of a folder .*at most 200 bytes"),
        ("configs: [{config: mf.yaml, name: ..}]", "name '..' is no name of a folder"),
        ("configs: [{config: mf.yaml, name: /x}]", "name '/x' is no name of a folder"),
    ],
)
def test_what_a_suite_must_be(suite, here, content, message) -> None:
    (here / "bad.yaml").write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_suite(here / "bad.yaml")


def test_a_configuration_that_is_not_there(suite, here) -> None:
    (here / "bad.yaml").write_text("configs: [mff.yaml]")
    with pytest.raises(DataError, match=r"mff.yaml: no such configuration .*did you mean 'mf.yaml'"):
        read_suite(here / "bad.yaml")


@pytest.mark.parametrize(
    ("data", "options"),
    [
        ("{class_path: GraphDataModule, init_args: {split: {class_path: LeaveOneOut}}}", ["--data.split.seed=7"]),
        ("{class_path: GraphDataModule, init_args: {split: recgnn.data.RatioSplit}}", ["--data.split.seed=7"]),
        ("{class_path: GraphDataModule, init_args: {split: {class_path: TemporalSplit}}}", []),
        ("{class_path: recgnn.data.CTRDataModule}",
         ["--data.split=RatioSplit", "--data.split.by=all", "--data.split.seed=7"]),
        ("GraphDataModule", ["--data.split=RatioSplit", "--data.split.by=user", "--data.split.seed=7"]),
    ],
)  # fmt: skip
def test_the_split_has_the_seed_too_where_it_draws(here, data, options) -> None:
    (here / "x.yaml").write_text(f"data: {data}\n")
    assert split_seed(here / "x.yaml", 7) == options


def test_a_default_split_with_a_seed_is_the_default_split(entry, here) -> None:
    (here / "x.yaml").write_text(CONFIG.replace("split: {class_path: RatioSplit, init_args: {seed: 42}}", ""))
    assert entry("benchmark", "--configs", "x.yaml", "--seeds", 4)[0] == 0
    split = config_of(here / "runs/benchmark/x/4")["data"]["init_args"]["split"]
    assert split["class_path"].endswith("RatioSplit") and split["init_args"]["seed"] == 4
    assert split["init_args"]["by"] == "user"


@pytest.mark.parametrize("name", ["ml-100k", "ml-100k-ratings", "ml-100k-ctr"])
def test_the_shipped_suites_name_what_is_there(name, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    suite = read_suite(name)
    path = Path(f"conf/suites/{name}.yaml")
    assert [entry.name for entry in suite.entries] == [entry.name for entry in read_suite(path).entries]
    assert suite.name == name and len(suite.seeds) == 3 and len(suite.entries) >= 3
    assert f"python -m recgnn.benchmark --suite {name}" in path.read_text().splitlines()[0]
