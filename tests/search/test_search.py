"""`tune`: what a search tries, keeps, gives up and leaves behind, and how it goes on."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pandas as pd
import pytest
import yaml
from filelock import FileLock

from recgnn import tune
from recgnn.cli.entry import main
from recgnn.errors import ConfigError, RunError
from recgnn.files import temporary_beside
from recgnn.training.recommenders import RankingTraining

optuna = pytest.importorskip("optuna")

from recgnn.cli.fitting import configuration  # noqa: E402
from recgnn.search.search import Search  # noqa: E402
from recgnn.search.space import read_space  # noqa: E402
from recgnn.search.study import open_study  # noqa: E402
from recgnn.search.trial_training import value_of  # noqa: E402

METRIC = "val/ndcg@5"
HEAD = f"method: grid\nmetric: {{name: {METRIC}, goal: maximize}}\n"
GRID = "parameters: {model.embedding_dim: {values: [0, 8]}, training.lr: {values: [0.05, 0.5]}}\n"
BAYES = """\
metric: {name: val/ndcg@5, goal: maximize}
parameters:
  training.lr: {distribution: log_uniform_values, min: 0.001, max: 0.5}
  model.num_layers: {min: 1, max: 3}
"""


def table(output: Path | str) -> pd.DataFrame:
    return pd.read_csv(Path(output) / "trials.csv").set_index("trial")


@pytest.fixture(autouse=True)
def no_learning_curves(monkeypatch):
    """Of trials, which takes longer than their training here."""
    monkeypatch.setattr("recgnn.cli.fitting.save_figures", lambda *arguments: None)


@pytest.fixture
def search(tiny, here):
    """Runs a search over a space, given as text, in `out`; returns its table."""

    def run(space: str, *options: object, output: str = "out") -> pd.DataFrame:
        Path("space.yaml").write_text(space)
        tune.main(["--config", str(tiny), "--space", "space.yaml", "--output", output, *map(str, options)])
        return table(output)

    return run


@pytest.fixture(scope="module")
def grid(tiny, tmp_path_factory) -> Path:
    """A finished search over four combinations, two of them without an embedding, which looks at no test data."""
    output = tmp_path_factory.mktemp("search") / "grid"
    (output.parent / "space.yaml").write_text(HEAD + GRID)

    def seen(*arguments):
        raise AssertionError("test data were looked at")

    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.setattr(RankingTraining, "test_step", seen)
        patch.setattr(RankingTraining, "on_test_epoch_start", seen)
        options = ["--config", str(tiny), "--space", str(output.parent / "space.yaml"), "--output", str(output)]
        tune.main([*options, "--trials", "9", "--max_epochs", "2"])
    (output.parent / "printed.txt").write_text(printed.getvalue())
    return output


def test_what_a_killed_search_had_not_written_is_written_by_the_next(grid, tiny, here, capsys) -> None:
    """Killed between the study's answer and its files: the same command trains nothing, and writes them."""
    output = shutil.copytree(grid, here / "grid")
    best = (output / "best.yaml").read_text().partition("\ndata:")[2]
    for name in ("best.yaml", "trials.csv", "search.png"):
        (output / name).unlink()
    options = ["--config", str(tiny), "--space", str(grid.parent / "space.yaml"), "--output", "grid"]
    tune.main([*options, "--trials", "9", "--max_epochs", "2"])
    assert "continues after 4 trials" in capsys.readouterr().out
    assert (output / "best.yaml").read_text().partition("\ndata:")[2] == best != ""
    assert len(table(output)) == 4 and (output / "search.png").is_file()


# ---- what a search leaves


def test_every_combination_once_the_own_values_first(grid):
    trials = table(grid)
    tried = list(zip(trials["model.embedding_dim"], trials["training.lr"], strict=True))
    assert tried[0] == (8, 0.05) and trials["own_values"].tolist() == [True, False, False, False]
    assert sorted(tried) == [(0, 0.05), (0, 0.5), (8, 0.05), (8, 0.5)]


def test_a_trial_that_cannot_be_trained_has_failed_and_says_why(grid):
    trials = table(grid)
    failed = trials["model.embedding_dim"] == 0
    assert (trials.loc[failed, "state"] == "failed").all() and (trials.loc[~failed, "state"] == "complete").all()
    assert trials.loc[failed, "error"].str.contains("embedding_dim is 0; expected").all()
    assert trials.loc[~failed, "error"].isna().all()


def test_the_table_has_what_the_runs_measured(grid):
    trials = table(grid)
    for number, row in trials[trials["state"] == "complete"].iterrows():
        history = pd.read_csv(grid / "trials" / str(number) / "metrics.csv")
        assert row[METRIC] == history[METRIC].max() and row["best_epoch"] == history[METRIC].idxmax()
        assert row["epochs"] == len(history) == 2
        assert json.loads((grid / "trials" / str(number) / "metrics.json").read_text())["test"] == {}


def test_only_the_best_trial_keeps_its_checkpoints(grid):
    kept = [path.parent.name for path in grid.glob("trials/*/checkpoints")]
    assert kept == [str(table(grid)[METRIC].idxmax())]
    assert (grid / "trials" / kept[0] / "checkpoints/best.ckpt").is_file()
    assert {p.parent.name for p in grid.glob("trials/*/metrics.csv")} > set(kept)
    assert (grid / "search.png").read_bytes().startswith(b"\x89PNG")


def test_best_yaml_is_the_best_trial_and_trains_to_its_figure(grid, here, capsys):
    trials = table(grid)
    best = trials.loc[trials[METRIC].idxmax()]
    text = (grid / "best.yaml").read_text()
    config = yaml.safe_load(text)
    for name in ("model.embedding_dim", "training.lr"):
        assert value_of(config, name) == best[name]
    assert config["trainer"]["max_epochs"] == 2 and config["trainer"]["logger"] is None
    head = [line for line in text.splitlines() if line.startswith("#")]
    assert "recgnn.tune --config" in head[0] and f"{METRIC} {best[METRIC]:.6f}" in head[1]
    assert f"with the configuration's own values {trials[METRIC][0]:.6f}" in head[1]
    main("fit", ["--config", str(grid / "best.yaml"), "--run_dir", "again"])
    found = json.loads(Path("again/metrics.json").read_text())
    assert found["val"]["ndcg@5"] == pytest.approx(best[METRIC], abs=1e-9) and found["test"]
    assert (found["trials"], found["test_reads"]) == (len(trials), 1)


def test_a_line_a_trial_then_the_table_and_what_to_type_next(grid):
    lines = (grid.parent / "printed.txt").read_text().splitlines()
    assert [line.partition(")")[0] for line in lines[:4]] == [f"trial {i} ({i + 1} of 9" for i in range(4)]
    assert "the configuration's own values" in lines[0] and METRIC in lines[0]
    assert sum("failed: LightGCN.embedding_dim is 0; expected" in line for line in lines[:4]) == 2
    assert lines[4].startswith("4 trials: 2 complete, 2 failed")
    assert any(line.endswith(f"python -m recgnn.fit --config {grid}/best.yaml") for line in lines[5:])
    assert any(
        line.endswith("python -m recgnn.test --run " + str(next(grid.glob("trials/*/checkpoints")).parent))
        for line in lines[5:]
    )


# ---- the first trial


def test_own_values_outside_the_space_are_tried_and_constants_hold_and_checkpoints_are_kept_on_request(search):
    space = BAYES.replace("min: 0.001, max: 0.5", "min: 0.2, max: 0.5") + "  trainer.max_epochs: {value: 1}\n"
    trials = search(space, "--trials", 2, "--keep", "all")
    assert len(list(Path("out/trials").glob("*/checkpoints/best.ckpt"))) == 2
    assert trials["own_values"].tolist() == [True, False]
    assert trials["training.lr"][0] == 0.05 and 0.2 <= trials["training.lr"][1] <= 0.5
    assert trials["model.num_layers"][0] == 2
    assert trials["epochs"].tolist() == [1, 1]
    assert yaml.safe_load(Path("out/best.yaml").read_text())["trainer"]["max_epochs"] == 1


def test_a_configuration_that_cannot_be_trained_ends_the_search_and_may_be_mended(search):
    with pytest.raises(ConfigError, match="LightGCN.embedding_dim is 0; expected"):
        search(BAYES, "--trials", 3, "--model.embedding_dim=0")
    assert not Path("out/trials.csv").exists()
    assert len(search(BAYES, "--trials", 1, "--max_epochs", 1)) == 1


# ---- going on


def test_a_second_call_goes_on_as_if_there_had_been_one(search, tiny, capsys):
    first = search(BAYES, "--trials", 1, "--max_epochs", 1)
    assert len(search(BAYES, "--trials", 9, "--max_epochs", 1, "--timeout", 0)) == 1  # no time to start another
    second = search(BAYES, "--trials", 2, "--max_epochs", 1)
    assert "out: continues after 1 trials" in capsys.readouterr().out
    assert len(second) == 2 and second.iloc[:1].equals(first.astype(second.dtypes))
    whole = Search(read_space("space.yaml"), [f"--config={tiny}"], Path("whole"), "none", 42, keep_all=False)
    drawn = [whole._next(9).user_attrs["values"] for _ in range(2)]
    assert second[["training.lr", "model.num_layers"]].to_dict("records") == drawn and drawn[0] != drawn[1]


@pytest.fixture
def searches(tiny, here):
    """Makes searches over one folder, each as a process of its own would."""
    Path("space.yaml").write_text(BAYES)
    options = [f"--config={tiny}", "--trainer.max_epochs=1"]
    return lambda seed=42: Search(read_space("space.yaml"), options, here / "out", "none", seed, keep_all=False)


def test_the_seed_decides_what_is_tried(searches):
    drawn = []
    for seed in (1, 2, 1):
        search = searches(seed)
        found = [search._next(9).user_attrs["values"] for _ in range(3)]
        drawn.append(found)
        assert found[0] == {"training.lr": 0.05, "model.num_layers": 2}
        Path("out/study.db").unlink()
    assert drawn[0] == drawn[2] and drawn[0][1:] != drawn[1][1:]


def test_a_trial_whose_process_was_killed_is_done_again_once(searches):
    whole = searches()
    drawn = [whole._next(9).user_attrs["values"] for _ in range(3)]
    Path("out/study.db").unlink()
    killed = searches()
    for _ in range(2):  # its own values, and others: asked for, and never ended
        trial = killed._next(9)
    values = trial.user_attrs["values"]
    left = killed.folder(1) / temporary_beside(Path("vocabulary")).name.replace(f"-{os.getpid()}-", f"-{2**22 + 1}-")
    left.mkdir(parents=True)  # as if that process, which is no more, had been at it
    search = searches()
    search.run(2, None, lambda trial: None)
    states = [t.state.name for t in search.study.trials]
    assert states == ["FAIL", "FAIL", "COMPLETE", "COMPLETE"] and len(search.trials) == 2 and not left.exists()
    complete = [t for t in search.trials]
    assert sum(t.user_attrs["values"] == values for t in complete) == 1
    assert sum(bool(t.user_attrs.get("baseline")) for t in complete) == 1
    assert search._next(9).user_attrs["values"] == drawn[2]  # what follows is what would have followed


def test_two_processes_share_the_trials(searches):
    one, two = searches(), searches()
    locks = [search._process_lock(search.process) for search in (one, two)]
    locks[0].parent.mkdir()
    with FileLock(locks[0]), FileLock(locks[1]):
        found = [search._next(4) for search in (one, two, one, two)]
        assert [trial.number for trial in found] == [0, 1, 2, 3]
        assert [bool(trial.user_attrs.get("baseline")) for trial in found] == [True, False, False, False]
        assert one._next(4) is None and two._next(4) is None
        assert len({trial.user_attrs["values"]["training.lr"] for trial in found}) == 4


@pytest.mark.long  # as where the process was killed
def test_a_search_that_was_interrupted_tries_the_trial_again(searches, monkeypatch):
    search = searches()
    trained = RankingTraining.training_step

    def interrupted(self, batch, batch_idx):
        if self.trainer.default_root_dir.endswith("trials/1"):
            raise KeyboardInterrupt
        return trained(self, batch, batch_idx)

    monkeypatch.setattr(RankingTraining, "training_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search.run(3, None, lambda trial: None)
    stopped = search.study.trials[1]
    assert len(search.trials) == 1 and stopped.state.name == "FAIL"
    again = searches()
    again.run(2, None, lambda trial: None)
    assert [t.user_attrs["values"] for t in again.trials][1] == stopped.user_attrs["values"]


# ---- giving up


def test_bad_trials_are_given_up_after_the_epochs_of_the_space(search, tiny):
    space = HEAD + "early_terminate: {type: hyperband, min_iter: 1, eta: 2}\n"
    space += "parameters: {training.lr: {values: [0.05, 0.06, 1.0e-9, 2.0e-9]}}\n"
    trials = search(space, "--trials", 4)
    bad = trials["training.lr"] < 1e-6
    assert trials.loc[bad, "state"].tolist() == ["pruned", "pruned"] and trials.loc[bad, "epochs"].tolist() == [1, 2]
    assert trials.loc[~bad, "state"].tolist() == ["complete"] * 2 and trials.loc[~bad, "epochs"].tolist() == [3, 3]
    assert [len(pd.read_csv(f"out/trials/{n}/metrics.csv")) for n in trials.index[bad]] == [1, 2]


# ---- mistakes


@pytest.mark.parametrize(
    ("space", "options", "said"),
    [
        (BAYES.replace("training.lr", "training.lrr"), [], "option lrr of RankingTraining (did you mean 'lr'?)"),
        (BAYES.replace("max: 3", "max: 3.5"), [], "LightGCN.num_layers is 1.0; expected a whole number"),
        (BAYES.replace("training.lr", "data.bach_size"), [], "unknown option bach_size of GraphDataModule"),
        (BAYES.replace("ndcg@5", "ndgc@5"), [], "metric val/ndgc@5 is not measured (did you mean 'val/ndcg@5'?)"),
        (BAYES.replace("maximize", "minimize"), [], "goal is minimize, but this one is better the greater"),
        (BAYES, ["--training.lr=0.1"], "--training.lr is in the space space.yaml too"),
        (BAYES, ["--training.init_args.lr", "0.1"], "--training.lr is in the space space.yaml too"),
        (BAYES, ["--trails", "3"], "unknown option --trails (did you mean '--trials'?)"),
        (BAYES, ["--run_dir", "x"], "--run_dir is not for a search"),
        (BAYES, ["--trials", "0"], "--trials is 0; expected at least 1"),
        (BAYES, ["--prune", "hyperband"], "space.yaml has no early_terminate"),
        (BAYES, ["--training.lrr", "1"], "unknown option lrr of RankingTraining"),
        (BAYES, ["--trainer.max_epoch", "1"], "did you mean '--trainer.max_epochs'?"),
    ],
)
def test_a_mistake_is_one_line_before_any_training(search, entry, tiny, space, options, said):
    Path("space.yaml").write_text(space)
    code, out, err = entry("tune", "--config", tiny, "--space", "space.yaml", "--output", "out", *options)
    assert code == 2 and said in err and err.startswith("error: ") and len(err.splitlines()) == 1
    assert not out and not list(Path().glob("out/trials/*/metrics.csv"))


def test_a_folder_is_of_one_search(tmp_path):
    """Other settings are another search, once there are trials; `init_args` are none."""
    what = {"metric": "val/ndcg@5, maximize", "configuration": {"trainer.max_epochs": 1, "model.init_args.dim": 4}}
    pruner = optuna.pruners.NopPruner()
    other = {**what, "configuration": {**what["configuration"], "trainer.max_epochs": 2}}
    open_study(tmp_path, "maximize", pruner, other)
    study = open_study(tmp_path, "maximize", pruner, what)  # nothing was trained: it is replaced
    study.ask()
    assert len(open_study(tmp_path, "maximize", pruner, what).trials) == 1
    with pytest.raises(RunError, match=r"holds a search of something else \(trainer.max_epochs: 1 there, 2 now\)"):
        open_study(tmp_path, "maximize", pruner, other)


@pytest.mark.parametrize("taken", ["out", "out/study.db"])
def test_a_folder_that_cannot_be_used(entry, tiny, here, taken):
    Path("space.yaml").write_text(BAYES)
    Path(taken).parent.mkdir(exist_ok=True)
    Path(taken).write_text("not mine, and long enough to be no data base at all: " * 40)
    code, _, err = entry("tune", "--config", tiny, "--space", "space.yaml", "--output", "out")
    assert code == 2 and err.startswith("error: out") and len(err.splitlines()) == 1


def test_without_optuna_it_says_what_to_install(entry, tiny, here, monkeypatch):
    Path("space.yaml").write_text(BAYES)
    for name in [n for n in sys.modules if n.startswith("recgnn.search.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "optuna", None)
    code, _, err = entry("tune", "--config", tiny, "--space", "space.yaml")
    assert code == 2 and 'pip install "recgnn[tune]"' in err


def test_a_configuration_is_complete(tiny):
    config = yaml.safe_load(configuration([f"--config={tiny}", "--training.lr=0.25"]))
    assert value_of(config, "training.lr") == 0.25 and value_of(config, "training.negatives") == "auto"
