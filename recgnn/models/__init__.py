"""The models, one file per paper."""

from recgnn.models.gcn import GCN
from recgnn.models.lightgcn import LightGCN
from recgnn.models.mf import MF
from recgnn.models.ngcf import NGCF

__all__ = ["GCN", "LightGCN", "MF", "NGCF"]
