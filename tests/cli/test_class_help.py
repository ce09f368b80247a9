"""`--model.help LightGCN` and the like."""

from __future__ import annotations

import pytest

from recgnn.cli.class_help import class_help
from recgnn.cli.command_line import CommandLine
from recgnn.errors import ConfigError


def shown(*argv: str) -> str:
    text = class_help(CommandLine(list(argv)))
    assert max(map(len, text.splitlines())) <= 120
    return text


def test_a_class_has_its_options_and_no_sizes() -> None:
    text = " ".join(shown("--model.help", "LightGCN").split())
    assert "--model.embedding_dim" in text and "(a whole number from 1 to 1,000,000; default:" in text
    assert "--model.num_users" not in text
    assert "LightGCN (He et al., 2020)" in text and "https" not in text
    text = shown("--data.source.help=TableLog")
    assert "--data.source.path" in text and "required" in text


def test_a_training_has_the_values_of_the_model() -> None:
    text = " ".join(shown("--model=MF", "--training.help").split())
    assert text.startswith("--training RankingTraining")
    assert "default: SampledSoftmax)" in text and "default: 0.002)" in text
    text = " ".join(shown("--training.help", "RegressionTraining").split())
    assert "--training.table_lr learning rate of the tables" in text, "described by its base class"


def test_without_a_name_there_is_a_list() -> None:
    text = shown("--model.help")
    assert "  LightGCN " in text and "  DIN " in text
    assert "  NDCG " in shown("--training.metrics.help")
    with pytest.raises(ConfigError, match="did you mean 'MovieLens100K'"):
        shown("--data.source.help=MovieLens100")


def test_it_is_printed_and_nothing_is_trained(entry, here) -> None:
    code, out, _ = entry("fit", "--training.loss.help", "SampledSoftmax")
    assert code == 0 and "--training.loss.temperature" in out and not list(here.iterdir())
