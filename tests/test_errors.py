"""The ranges of arguments: every number of every class has bounds, and what lies outside is refused in one line."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from inspect import signature
from typing import Annotated, Any, Literal, get_args, get_origin

import numpy as np
import pandas as pd
import pytest
import torch

from recgnn.cli.classes import PLACES, classes_at
from recgnn.data import (
    CTRDataModule,
    Deduplicate,
    EventTable,
    Field,
    FrameLog,
    GivenSplit,
    GraphDataModule,
    Histories,
    KCore,
    LeaveOneOut,
    MinRating,
    RatingRange,
    RatioSplit,
    SyntheticLog,
    TableLog,
)
from recgnn.data.clicks.fields import as_field
from recgnn.data.interactions.sampling import Popularity, Uniform
from recgnn.errors import (
    Checked,
    ConfigError,
    Count,
    Fraction,
    Range,
    Seed,
    Share,
    Size,
    check,
    describe,
    expect_tensor,
    fits,
    hints_of,
    shown,
)
from recgnn.models import BST, CDAE, DAE, DIN, FM, GCN, MF, NGCF, AutoRec, DCNv2, DeepFM, LightGCN, Poly2
from recgnn.models.base import SIZES
from recgnn.nn.losses import SampledSoftmax
from recgnn.nn.optimizers import FTRL, LazyAdam, ProximalAdagrad, RowwiseAdagrad
from recgnn.training.clicks import ClickTraining
from recgnn.training.recommenders import RankingTraining, RatingTraining

CLASSES = sorted({cls for place in PLACES for cls in classes_at(place).values()}, key=lambda cls: cls.__qualname__)
CLASSES += [LazyAdam, RowwiseAdagrad, ProximalAdagrad, FTRL, Field, Histories]
FREE = {"LightGCN.layer_weights", "RatingTraining.cold_rating", "MinRating.threshold", "RatingRange.low",
        "RatingRange.high", "Field.padding", "Histories.padding",
        "TemporalSplit.val_start", "TemporalSplit.test_start"}  # numbers of the data's own scale  # fmt: skip


def numbers_in(hint: Any) -> list[Any]:
    """The parts of a type hint that are numbers: a type, or a type with its range."""
    if get_origin(hint) is Annotated or hint in (int, float):
        return [hint]
    return [number for inner in get_args(hint) for number in numbers_in(inner)]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__qualname__)
def test_every_number_of_every_class_has_a_range(cls: type) -> None:
    assert issubclass(cls, Checked) or cls in (Field, Histories)
    hints = hints_of(cls)
    assert {p.name for p in signature(cls).parameters.values() if not p.kind.name.startswith("VAR_")} <= hints.keys()
    for name, hint in hints.items():
        for number in numbers_in(hint):
            if name not in SIZES and f"{cls.__name__}.{name}" not in FREE:
                assert get_origin(number) is Annotated, f"{name} has no range"
                assert not any(fits(bad, number) for bad in (math.nan, math.inf, -math.inf, True, None, "1", -1e-9, -1))
            if get_args(number)[:1] == (int,):
                assert not any(fits(bad, number) for bad in (10**12, 1.0, 2.5, np.float64(3)))


LOG = FrameLog(pd.DataFrame({"user": [1, 2], "item": [1, 2]}))
WRONG: dict[str, Callable[[], object]] = {
    "MF.embedding_dim is 0; expected a whole number from 1": lambda: MF(3, 3, 0),
    "LightGCN.embedding_dim is 1000000000000;": lambda: LightGCN(3, 3, embedding_dim=10**12),
    "LightGCN.num_layers is True;": lambda: LightGCN(3, 3, num_layers=True),
    "LightGCN.num_layers is -1;": lambda: LightGCN(3, 3, num_layers=-1),
    "LightGCN.layer_weights is 'lerned' (did you mean 'learned'?); expected uniform or learned or": (
        lambda: LightGCN(3, 3, layer_weights="lerned")
    ),
    "LightGCN.layer_weights is [1.0, nan": lambda: LightGCN(3, 3, num_layers=1, layer_weights=[1.0, math.nan]),
    "NGCF.message_dropout is 2;": lambda: NGCF(3, 3, message_dropout=2),
    "NGCF.variant is 'athors' (did you mean 'authors'?)": lambda: NGCF(3, 3, variant="athors"),
    "GCN.layer_dims is [8, 0]": lambda: GCN(3, 3, layer_dims=[8, 0]),
    "GCN.readout is 'sum'": lambda: GCN(3, 3, readout="sum"),
    "AutoRec.hidden_dims is [0]; expected a list, each a whole number": lambda: AutoRec(3, 3, hidden_dims=[0]),
    "AutoRec.by is 'users' (did you mean 'user'?)": lambda: AutoRec(3, 3, by="users"),
    "AutoRec.hidden_dims is 5": lambda: AutoRec(3, 3, hidden_dims=5),
    "CDAE.corruption_rate is nan": lambda: CDAE(3, 3, corruption_rate=math.nan),
    "CDAE.tied is 1": lambda: CDAE(3, 3, tied=1),
    "DAE.corruption_rate is 1.5": lambda: DAE(3, 3, corruption_rate=1.5),
    "DeepFM.dropout is 1": lambda: DeepFM([3], dropout=1),
    "DeepFM.hidden_dims is [4, 2.0]": lambda: DeepFM([3], hidden_dims=[4, 2.0]),
    "DeepFM.activation is 'dice'": lambda: DeepFM([3], activation="dice"),
    "DIN.attention_dropout is -0.1": lambda: DIN([3], item_slots=[0], attention_dropout=-0.1),
    "BST.num_blocks is 0": lambda: BST([3], item_slots=[0], num_blocks=0),
    "DCNv2.structure is 'stack'": lambda: DCNv2([3], structure="stack"),
    "FM.init_std is -1": lambda: FM([3], init_std=-1),
    "Poly2.max_crosses is 1000000000000": lambda: Poly2([3], max_crosses=10**12),
    "RankingTraining.lr is nan; expected a number above 0 or null": lambda: RankingTraining(MF(3, 3), lr=math.nan),
    "RankingTraining.l2 is -1": lambda: RankingTraining(MF(3, 3), l2=-1),
    "RankingTraining.num_negatives is 1000000000.0": lambda: RankingTraining(MF(3, 3), num_negatives=1e9),
    "RankingTraining.popularity_alpha is inf": lambda: RankingTraining(MF(3, 3), popularity_alpha=math.inf),
    "RatingTraining.cold_rating is nan": lambda: RatingTraining(MF(3, 3), cold_rating=math.nan),
    "ClickTraining.wide_lr is None": lambda: ClickTraining(FM([3]), wide_lr=None),
    "ClickTraining.l2_on is 'tables' (did you mean 'table'?)": lambda: ClickTraining(FM([3]), l2_on="tables"),
    "SampledSoftmax.temperature is 0": lambda: SampledSoftmax(0),
    "SampledSoftmax.popularity_correction is -1": lambda: SampledSoftmax(1, -1),
    "Uniform.num is 0": lambda: Uniform(0),
    "Popularity.num is 1000000000": lambda: Popularity(10**9),
    "LazyAdam.betas is (0.9, 1.0)": lambda: LazyAdam([], betas=(0.9, 1.0)),
    "FTRL.lr is -1": lambda: FTRL([], lr=-1),
    "RatioSplit.seed is -1": lambda: RatioSplit(seed=-1),
    "RatioSplit.ratios is (0.8, nan, 0.1)": lambda: RatioSplit((0.8, math.nan, 0.1)),
    "LeaveOneOut.val is 2": lambda: LeaveOneOut(val=2),
    "GivenSplit.val is 1.0; expected a number from 0 to below 1 or test or null": lambda: GivenSplit(1.0),
    "KCore.users is -1": lambda: KCore(users=-1),
    "MinRating.threshold is '4'": lambda: MinRating("4"),
    "RatingRange.high is inf": lambda: RatingRange(0, math.inf),
    "Deduplicate.keep is 'newest'": lambda: Deduplicate("newest"),
    "GraphDataModule.batch_size is 0": lambda: GraphDataModule(LOG, batch_size=0),
    "GraphDataModule.sampling is 'users'": lambda: GraphDataModule(LOG, sampling="users"),
    "CTRDataModule.negatives is -1": lambda: CTRDataModule(LOG, negatives=-1),
    "CTRDataModule.task is 'click'": lambda: CTRDataModule(LOG, task="click"),
    "TableLog.quotes is 'no'": lambda: TableLog("x", quotes="no"),
    "EventTable.path is 5; expected text or a path or null": lambda: EventTable(5),
    "SyntheticLog.num_users is 0": lambda: SyntheticLog(num_users=0),
    "fields: x.buckets is 1000000000000": lambda: as_field({"buckets": 10**12}, "x"),
    "fields: x.kind is 'multy' (did you mean 'multi'?)": lambda: as_field("multy", "x"),
    "fields: x.max_values is True": lambda: as_field(Field("multi", max_values=True), "x"),
    "history.max_length is 0": lambda: Histories(["item"], max_length=0).check(["user", "item"]),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_cannot_be_is_refused_when_it_is_made(message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as error:
        WRONG[message]()
    assert "\n" not in str(error.value)


def test_numbers_of_every_kind_are_taken() -> None:
    """Those of NumPy too; an integer is a number, and a number is no integer."""
    assert MF(np.int64(3), np.int32(3), np.uint8(4)).user_embedding.weight.shape == (3, 4)
    assert fits(np.float32(0.5), Share) and fits(0, Share) and fits(np.array([1, 2]), Sequence[Size])
    assert not fits(1.0, Count) and not fits("12", Sequence[Size]) and not fits(10**400, float)
    assert fits(1, Fraction) and not fits(1.0 + 1e-12, Fraction) and fits(2**32 - 1, Seed) and not fits(2**32, Seed)
    assert fits(1, Literal[1, "a"]) and not fits(True, Literal[1, "a"]) and not fits(1.0, Literal[1, "a"])
    assert fits((1, 2.0), tuple[int, float]) and not fits((1,), tuple[int, float])
    assert fits({"a": [1]}, dict[str, list[int]]) and not fits({"a": [0.5]}, dict[str, list[int]])


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (Size, "a whole number from 1 to 1,000,000"),
        (Annotated[float, Range(0, above=True)] | None, "a number above 0 or null"),
        (Annotated[float, Range(0, 1, above=True)], "a number above 0, at most 1"),
        (Share, "a number from 0 to below 1"),
        (Sequence[Literal["a", "b"]], "a list, each a or b"),
        (dict[str, Any], "a mapping"),
        (bool | str, "true or false or text"),
    ],
)
def test_what_is_expected_in_words(hint: Any, words: str) -> None:
    assert describe(hint) == words


def test_arguments_of_a_class_of_ones_own_are_checked_as_far_as_they_are_known() -> None:
    class Own(MF):
        def __init__(self, num_users: int, num_items: int, width: Size = 4, other: Unheard = None):  # noqa: F821
            super().__init__(num_users, num_items, width)

    assert hints_of(Own) == {}, "a hint that cannot be looked up"
    with pytest.raises(ConfigError, match=r"^Own.embedding_dim is 0;"):
        Own(3, 3, 0)
    with pytest.raises(TypeError, match="unexpected keyword argument 'widht'"):
        Own(3, 3, widht=2)
    assert Own(3, 3, 2).arguments == {"num_users": 3, "num_items": 3, "width": 2, "other": None}


def test_a_long_value_is_cut() -> None:
    with pytest.raises(ConfigError) as error:
        check("", {"x": [0] * 1000}, {"x": Sequence[Size]})
    assert len(str(error.value)) < 150 and str(error.value).startswith("x is [0, 0, ") and len(shown("y" * 99)) == 60


def test_an_option_of_what_is_not_there() -> None:
    from jsonargparse._typehints import NestedArg

    with pytest.raises(ConfigError, match="^Data.source: there is none that root could belong to; name its"):
        check("Data", {"source": NestedArg("root", "a folder")}, {"source": int | None})


@pytest.mark.parametrize(
    ("value", "told"), [(torch.zeros(3, 1), r"the shape \(3, 1\)"), (np.zeros(3), "a ndarray"), (None, "a NoneType")]
)
def test_what_a_method_gives_is_a_tensor_of_its_shape(value: object, told: str) -> None:
    right = torch.zeros(3)
    assert expect_tensor(right, "forward", right, (3,), "three") is right
    with pytest.raises(ConfigError, match=rf"^Popularity.draw gave {told}, expected a tensor of shape \(3,\), three$"):
        expect_tensor(Popularity(), "draw", value, right.shape, "three")
