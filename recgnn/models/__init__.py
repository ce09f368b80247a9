"""The models, one file per paper."""

from recgnn.models.autorec import AutoRec
from recgnn.models.cdae import CDAE
from recgnn.models.dae import DAE
from recgnn.models.gcn import GCN
from recgnn.models.lightgcn import LightGCN
from recgnn.models.mf import MF
from recgnn.models.ngcf import NGCF

__all__ = ["AutoRec", "CDAE", "DAE", "GCN", "LightGCN", "MF", "NGCF"]
