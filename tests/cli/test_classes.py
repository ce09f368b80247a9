"""The closed table of classes, and which training and arguments a model has by default."""

from __future__ import annotations

from abc import abstractmethod

import pytest

import recgnn.models
from recgnn.cli.classes import (
    PLACES,
    check_fit,
    class_named,
    classes_at,
    default_arguments,
    default_training,
    path_of,
)
from recgnn.errors import ConfigError
from recgnn.models import DIN, FM, MF, PITF, AutoRec
from recgnn.models.base import Recommender
from recgnn.nn.losses import BPR, SampledSoftmax, SquaredError
from recgnn.training.clicks import ClickTraining, RegressionTraining
from recgnn.training.recommenders import RankingTraining, RatingTraining

NAMES = {
    "data": "CTRDataModule GraphDataModule",
    "data.filters": "Deduplicate KCore MinRating RatingRange",
    "data.hard_negatives": "TopOfRun",
    "data.split": "DailySplit GivenSplit LeaveOneOut RatioSplit TemporalSplit",
    "model": "AutoRec BST CDAE DAE DCNv2 DIN DeepFM FFM FM GCN LR LightGCN MF NGCF Poly2 WideDeep",
    "training": "ClickTraining RankingTraining RatingTraining RegressionTraining",
    "training.loss": "BCE BPR CrossEntropy Logistic MeanSquaredError Multinomial SampledSoftmax Squared SquaredError",
    "training.negatives": "InBatch Popularity Shared Uniform",
    "training.metrics": "AUC ECE GAUC MAE MAP MRR NDCG RMSE Recall",
}


class MF2(MF):
    """A model of one's own."""


class LightGCN(Recommender):
    """Has a name of ours."""


class Half(MF):
    """Leaves out what it must define."""

    @abstractmethod
    def half(self) -> None: ...


Half.__abstractmethods__ = frozenset({"half"})


@pytest.mark.parametrize("place", PLACES)
def test_the_table(place) -> None:
    known = classes_at(place)
    assert set(NAMES.get(place, "TableLog AtomicLog EventTable Criteo MovieLens100K").split()) <= set(known)
    for name, cls in known.items():
        assert class_named(place, name) is cls and class_named(place, path_of(cls)) is cls
    assert not {path.rpartition(".")[2] for path in PLACES[place].bases} & set(known), "a base class is not meant"
    if place == "model":
        assert set(known) == set(recgnn.models.__all__)


def test_what_else_is_imported_does_not_count() -> None:
    assert class_named("model", "LightGCN") is recgnn.models.LightGCN is not LightGCN
    with pytest.raises(ConfigError, match=r"model: no model is named MF2 \(did you mean 'MF'\?\), or a dotted path"):
        class_named("model", "MF2")
    assert class_named("model", f"{__name__}.MF2").__name__ == "MF2"
    for name, words in {
        "nowhere.Model": "nowhere.Model cannot be imported: No module named 'nowhere'",
        "recgnn.models.LihgtGCN": r"cannot be imported: .*LihgtGCN.*\(did you mean 'LightGCN'\?\)",
        "recgnn.nn.losses.BPR": "BPR is no model: it does not extend recgnn.models.base.Model",
        f"{__name__}.Half": "test_classes.Half does not define half; a subclass of MF must",
        "pathlib.os": "is no model",
        "../x": "../x cannot be imported",
    }.items():
        with pytest.raises(ConfigError, match=words):
            class_named("model", name)


def test_the_training_follows_from_model_and_data() -> None:
    cases = [
        (MF, None),
        (MF2, "clicks"),
        (AutoRec, None),
        (DIN, None),
        (FM, "clicks"),
        (FM, "regression"),
        (None, None),
    ]
    expected = [RankingTraining, RankingTraining, RatingTraining, ClickTraining, ClickTraining, RegressionTraining,
                RankingTraining]  # fmt: skip
    assert [default_training(*case) for case in cases] == expected
    check_fit(RatingTraining, MF)
    with pytest.raises(
        ConfigError, match="RatingTraining is for the task rating, and FM .* take ClickTraining or Regr"
    ):
        check_fit(RatingTraining, FM)


def test_the_arguments_that_suit_a_model() -> None:
    softmax = {"class_path": path_of(SampledSoftmax)}
    assert default_arguments(RankingTraining, MF, BPR)["l2"] == BPR.defaults["l2"] != MF.defaults["l2"]
    for loss in (None, BPR):  # its own, said or not
        assert default_arguments(RankingTraining, PITF, loss)["l2"] == PITF.defaults["l2"] != BPR.defaults["l2"]
    expected = {"loss": softmax, "lr": MF.defaults["lr"]}
    assert default_arguments(RankingTraining, MF) == expected, "l2 follows the log"
    expected["loss"] = {"class_path": path_of(SquaredError)}  # MF's own is none of ratings
    expected["l2"] = MF.defaults["l2"]
    assert default_arguments(RatingTraining, MF) == expected
    assert default_arguments(RankingTraining, None) == {}
