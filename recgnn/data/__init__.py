"""From interaction logs to tensors."""

from recgnn.data.amazon import AmazonBeauty
from recgnn.data.catalog import AmazonBook, Gowalla, MovieLens1M, MovieLens100K, Yelp2018
from recgnn.data.ctr_data import CTRDataModule
from recgnn.data.ctr_prepare import prepare_events
from recgnn.data.event_catalog import Frappe
from recgnn.data.event_files import Avazu, Criteo
from recgnn.data.events import EventSource, EventTable
from recgnn.data.fake import SyntheticLog
from recgnn.data.fields import Field
from recgnn.data.filters import Deduplicate, Filter, KCore, MinRating, RatingRange
from recgnn.data.graph_data import GraphDataModule
from recgnn.data.history import Histories
from recgnn.data.log import InteractionLog, Source
from recgnn.data.prepare import PreparedLog, prepare
from recgnn.data.prepared_events import PreparedEvents
from recgnn.data.sources import AdjacencyLog, AtomicLog, FrameLog, TableLog
from recgnn.data.sparse_text import SparseText
from recgnn.data.split import GivenSplit, LeaveOneOut, RatioSplit, Split, TemporalSplit, WithoutValidation
from recgnn.data.vocabulary import Vocabulary

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
