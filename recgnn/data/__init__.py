"""From interaction logs to tensors."""

from recgnn.data.clicks.events import EventSource, EventTable
from recgnn.data.clicks.fields import Field
from recgnn.data.clicks.history import Histories
from recgnn.data.clicks.module import CTRDataModule
from recgnn.data.clicks.prepare import prepare_events
from recgnn.data.clicks.prepared import PreparedEvents
from recgnn.data.clicks.sparse_text import SparseText
from recgnn.data.datasets.amazon import AmazonBeauty
from recgnn.data.datasets.catalog import AmazonBook, Gowalla, MovieLens1M, MovieLens100K, Yelp2018
from recgnn.data.datasets.criteo import Avazu, Criteo
from recgnn.data.datasets.frappe import Frappe
from recgnn.data.datasets.synthetic import SyntheticLog
from recgnn.data.interactions.filters import Deduplicate, Filter, KCore, MinRating, RatingRange
from recgnn.data.interactions.module import GraphDataModule
from recgnn.data.interactions.prepare import PreparedLog, prepare
from recgnn.data.interactions.sources import AdjacencyLog, AtomicLog, FrameLog, TableLog
from recgnn.data.interactions.split import GivenSplit, LeaveOneOut, RatioSplit, Split, TemporalSplit, WithoutValidation
from recgnn.data.interactions.vocabulary import Vocabulary
from recgnn.data.log import InteractionLog, Source

__all__ = [
    "AdjacencyLog",
    "AmazonBeauty",
    "AmazonBook",
    "AtomicLog",
    "Avazu",
    "CTRDataModule",
    "Criteo",
    "Deduplicate",
    "EventSource",
    "EventTable",
    "Field",
    "Filter",
    "FrameLog",
    "Frappe",
    "GivenSplit",
    "Gowalla",
    "GraphDataModule",
    "Histories",
    "InteractionLog",
    "KCore",
    "LeaveOneOut",
    "MinRating",
    "MovieLens100K",
    "MovieLens1M",
    "PreparedEvents",
    "PreparedLog",
    "RatingRange",
    "RatioSplit",
    "Source",
    "SparseText",
    "Split",
    "SyntheticLog",
    "TableLog",
    "TemporalSplit",
    "Vocabulary",
    "WithoutValidation",
    "Yelp2018",
    "prepare",
    "prepare_events",
]
