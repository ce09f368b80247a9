# ruff: noqa: F401 (names of the table below, for type checkers)
"""From interaction logs to tensors. Names are imported when they are used, so that readers need no torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recgnn.data.clicks.events import EventFrame, EventSource, EventTable
    from recgnn.data.clicks.fields import Field
    from recgnn.data.clicks.history import Histories
    from recgnn.data.clicks.module import CTRDataModule
    from recgnn.data.clicks.prepare import prepare_events
    from recgnn.data.clicks.prepared import PreparedEvents
    from recgnn.data.clicks.sparse_text import SparseText
    from recgnn.data.datasets.amazon import AmazonBeauty
    from recgnn.data.datasets.criteo import Avazu, Criteo
    from recgnn.data.datasets.fixed_splits import AmazonBook, Gowalla, Yelp2018
    from recgnn.data.datasets.frappe import Frappe
    from recgnn.data.datasets.media import MIND, CriteoAttribution, KuaiRand, KuaiRec, Netflix, Tenrec
    from recgnn.data.datasets.movielens import (
        MovieLens1M,
        MovieLens10M,
        MovieLens20M,
        MovieLens32M,
        MovieLens100K,
        MovieLensSmall,
        MovieLensTags,
    )
    from recgnn.data.datasets.music import LastFM1K, LastFM2K, LastFM360K
    from recgnn.data.datasets.shops import AmazonReviews, BookCrossing, Steam, Taobao, Yelp
    from recgnn.data.datasets.synthetic import SyntheticLog
    from recgnn.data.interactions.daily import DailySplit
    from recgnn.data.interactions.filters import Deduplicate, Filter, KCore, MinRating, RatingRange, Where
    from recgnn.data.interactions.log import InteractionLog, Source
    from recgnn.data.interactions.module import GraphDataModule
    from recgnn.data.interactions.prepare import prepare
    from recgnn.data.interactions.prepared import PreparedLog
    from recgnn.data.interactions.sources import AdjacencyLog, AtomicLog, FrameLog, TableLog
    from recgnn.data.interactions.split import GivenSplit, LeaveOneOut, RatioSplit, Split, TemporalSplit
    from recgnn.data.interactions.usual_split import WithoutValidation
    from recgnn.data.interactions.vocabulary import Vocabulary

_MODULES = {
    "clicks.events": ("EventFrame", "EventSource", "EventTable"),
    "clicks.fields": ("Field",),
    "clicks.history": ("Histories",),
    "clicks.module": ("CTRDataModule",),
    "clicks.prepare": ("prepare_events",),
    "clicks.prepared": ("PreparedEvents",),
    "clicks.sparse_text": ("SparseText",),
    "datasets.amazon": ("AmazonBeauty",),
    "datasets.criteo": ("Avazu", "Criteo"),
    "datasets.fixed_splits": ("AmazonBook", "Gowalla", "Yelp2018"),
    "datasets.frappe": ("Frappe",),
    "datasets.media": ("CriteoAttribution", "KuaiRand", "KuaiRec", "MIND", "Netflix", "Tenrec"),
    "datasets.movielens": ("MovieLens100K", "MovieLens10M", "MovieLens1M", "MovieLens20M", "MovieLens32M",
                           "MovieLensSmall", "MovieLensTags"),
    "datasets.music": ("LastFM1K", "LastFM2K", "LastFM360K"),
    "datasets.shops": ("AmazonReviews", "BookCrossing", "Steam", "Taobao", "Yelp"),
    "datasets.synthetic": ("SyntheticLog",),
    "interactions.daily": ("DailySplit",),
    "interactions.filters": ("Deduplicate", "Filter", "KCore", "MinRating", "RatingRange", "Where"),
    "interactions.log": ("InteractionLog", "Source"),
    "interactions.module": ("GraphDataModule",),
    "interactions.prepare": ("prepare",),
    "interactions.prepared": ("PreparedLog",),
    "interactions.sources": ("AdjacencyLog", "AtomicLog", "FrameLog", "TableLog"),
    "interactions.split": ("GivenSplit", "LeaveOneOut", "RatioSplit", "Split", "TemporalSplit"),
    "interactions.usual_split": ("WithoutValidation",),
    "interactions.vocabulary": ("Vocabulary",),
}
NAMES = {name: f"recgnn.data.{module}" for module, names in _MODULES.items() for name in names}
"""The module of each public name."""

__all__ = sorted(NAMES)


def __getattr__(name: str) -> object:
    if name not in NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(NAMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *NAMES})
