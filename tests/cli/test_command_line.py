"""Options before Lightning reads them: short names of classes, what is chosen, and mistakes by file and line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from recgnn.cli.command_line import CommandLine
from recgnn.errors import ConfigError
from recgnn.models import FM, MF, LightGCN
from recgnn.training.clicks import RegressionTraining
from recgnn.training.recommenders import RankingTraining, RatingTraining

CONFIG = """\
data:
  class_path: GraphDataModule
  init_args:
    source: {class_path: TableLog, init_args: {path: log.csv}}
    filters: [{class_path: MinRating, init_args: {rating: 4}}, Deduplicate]
    split: LeaveOneOut
model: MF
training:
  loss: {class_path: SampledSoftmax, init_args: {temperature: 1e-1}}
  negatives: in_batch
  metrics: [recall, {class_path: NDCG}, my_metrics.Surprise]
trainer: {callbacks: [{class_path: EarlyStopping, init_args: {monitor: val/ndcg@10}}]}
"""


@pytest.fixture
def config(here) -> str:
    Path("x.yaml").write_text(CONFIG)
    Path("my_metrics.py").write_text(
        "from recgnn.evaluation.metrics.ranking import NDCG\nclass Surprise(NDCG): pass\n"
    )
    return "x.yaml"


def text_of(line: CommandLine) -> str:
    [text] = [word.removeprefix("--config=") for word in line.argv if word.startswith("--config=")]
    return text


def test_short_names_become_paths(config, monkeypatch) -> None:
    monkeypatch.syspath_prepend(".")
    line = CommandLine(["--config", config])
    found, given = yaml.safe_load(text_of(line)), yaml.safe_load(CONFIG)
    data, training = found["data"]["init_args"], found["training"]
    assert found["model"].endswith(".MF") and found["data"]["class_path"].endswith(".GraphDataModule")
    assert data["source"]["class_path"].startswith("recgnn.") and data["split"].endswith(".LeaveOneOut")
    assert data["filters"][0]["class_path"].endswith(".MinRating") and data["filters"][1].endswith(".Deduplicate")
    assert training["loss"]["class_path"] == "recgnn.nn.losses.SampledSoftmax"
    assert training["metrics"][1]["class_path"].endswith(".NDCG")
    assert training["metrics"][::2] == ["recall", {"class_path": "my_metrics.Surprise"}]
    assert training["negatives"] == "in_batch"
    assert found["trainer"] == given["trainer"] and "temperature: 1e-1" in text_of(line), "the rest is as it was"
    assert line.model is MF and line.training is RankingTraining


def test_options_too_and_later_ones_win(config, monkeypatch) -> None:
    monkeypatch.syspath_prepend(".")
    argv = ["--model=LightGCN", "-c", config, "--data.split", "RatioSplit", "--data.init_args.filters=[KCore]"]
    argv += ["--training.negatives=Popularity", "--model.init_args.embedding_dim", "8", "--trainer.callbacks=null"]
    first = CommandLine(argv)
    assert first.model is MF, "the file stands behind the option"
    words = dict(word.split("=", 1) for word in first.argv)
    assert words["--data.split"].endswith(".RatioSplit") and yaml.safe_load(words["--data.init_args.filters"]) == [
        "recgnn.data.interactions.filters.KCore"
    ]
    path = "recgnn.data.interactions.sampling.Popularity"
    assert yaml.safe_load(words["--training.negatives"]) == {"class_path": path}
    assert words["--model.init_args.embedding_dim"] == "8" and words["--trainer.callbacks"] == "null"
    second = CommandLine([*argv, "--model", "LightGCN"])
    assert second.model is LightGCN and second.training is RankingTraining
    assert CommandLine([*argv, "--training", "RatingTraining"]).training is RatingTraining


def test_the_data_say_that_numbers_are_predicted() -> None:
    assert CommandLine(["--model=FM", "--data.init_args.task=regression"]).training is RegressionTraining
    assert CommandLine(["--data.task=clicks", "--model=FM"]).model is FM


def test_names_elsewhere_are_no_classes(here) -> None:
    text = "data: {init_args: {fields: {model: categorical, source: {kind: multi}}, label: split}}\nmodel: FM\n"
    Path("x.yaml").write_text(text)
    assert yaml.safe_load(text_of(CommandLine(["--config=x.yaml"])))["data"] == yaml.safe_load(text)["data"]


def test_help_is_asked_for() -> None:
    assert CommandLine(["--data.source.help", "TableLog"]).help == ("data.source", "TableLog")
    assert CommandLine(["--model.help"]).help == ("model", None)
    assert CommandLine(["--trainer.logger.help=CSVLogger"]).help is None, "which is Lightning's"


OLD = "model:\n  class_path: LightGCN\n  init_args:\n    embedding_dim: 8\n    {}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (OLD.format("lr: 0.1"), "x.yaml, line 5: lr belongs under `training:`, not under `model:`: training.lr"),
        (OLD.format("loss: bpr"), "x.yaml, line 5: loss belongs under `training:`"),
        (
            OLD.format("temperature: 1.0"),
            "x.yaml, line 5: temperature belongs to the loss.*: training.loss.temperature",
        ),
        (OLD.format("task: ranking"), "x.yaml, line 5: the task is chosen by the class of `training:`"),
        ("model: AutoRec\ntraining: {ks: [5]}\n", "x.yaml, line 2: training.ks is no option of RatingTraining, which"),
        ("model: FM\ntraining: RankingTraining\n", "RankingTraining is for the task ranking, and FM is for clicks or"),
        ("model: LihgtGCN\n", r"model: no model is named LihgtGCN \(did you mean 'LightGCN'\?\)"),
        ("data: {split: {class_path: RatoSplit}}\n", r"data.split: no split is named RatoSplit \(did you mean 'Ratio"),
        ("model: [1\n", "x.yaml, line 2: is no valid YAML: .*expected ',' or ']'"),
        ("model: MF\ntrainer: {}\nmodel: FM\n", "x.yaml, line 3: 'model' stands twice"),
        ("data:\n  fields: {a: multi, b: multi, a: time}\n", "x.yaml, line 2: 'a' stands twice"),
        ("", "x.yaml: is no configuration: expected sections"),
        ("- model\n", "x.yaml: is no configuration: expected sections"),
    ],
)
def test_mistakes(here, text, message) -> None:
    Path("x.yaml").write_text(text)
    with pytest.raises(ConfigError, match=f"^{message}|{message}") as caught:
        CommandLine(["--config", "x.yaml"])
    assert "\n" not in str(caught.value)


def test_files_that_are_none(here) -> None:
    Path("tiny.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="tiny.yaml: is no text file"):
        CommandLine(["--config=tiny.yaml"])
    with pytest.raises(ConfigError, match=r"tini.yaml: no such configuration file \(did you mean 'tiny.yaml'\?\)"):
        CommandLine(["--config", "tini.yaml"])


def test_an_old_option_of_a_model(here) -> None:
    with pytest.raises(ConfigError, match="^--model.l2: l2 belongs under `training:`"):
        CommandLine(["--model=MF", "--model.l2=0.1"])


@pytest.mark.parametrize("prefix", ["--data.split", "--data.init_args.split.init_args"])
def test_options_of_a_split_that_is_not_named_mean_the_usual_one(prefix) -> None:
    usual = "recgnn.data.interactions.usual_split.UsualSplit"
    for data, by in (("GraphDataModule", "user"), ("CTRDataModule", "all")):
        words = [f"--data={data}", f"{prefix}.ratios=[0.7,0.2,0.1]", "--model=MF"]
        argv = CommandLine(words).argv
        name = prefix.removesuffix(".init_args")
        assert argv[1:4] == [f"{name}={usual}", f"{name}.by={by}", words[1]]
    named = ["--data.split=RatioSplit", "--data.split.ratios=[0.7,0.2,0.1]", "--model=MF"]
    assert len(CommandLine(named).argv) == 3
    with pytest.raises(ConfigError, match="--data.split.order: the usual split has no such option"):
        CommandLine(["--data.split.order=time", "--model=MF"])


def test_fields_of_a_later_file_are_told_to_replace_the_earlier_ones(here) -> None:
    for name, fields in (("a", "{user: categorical, price: numeric}"), ("b", "{price: drop}")):
        Path(f"{name}.yaml").write_text(f"data:\n  class_path: CTRDataModule\n  init_args:\n    fields: {fields}\n")
    line = CommandLine(["--config=a.yaml", "--config=b.yaml", "--model=FM"])
    assert line.notes == ["b.yaml, line 4: data.fields takes the place of that of a.yaml as a whole"]
    assert CommandLine(["--config=a.yaml", "--model=FM"]).notes == []
