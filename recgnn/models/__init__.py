"""The models, one file per paper."""

from recgnn.models.autorec import AutoRec
from recgnn.models.bst import BST
from recgnn.models.cdae import CDAE
from recgnn.models.dae import DAE
from recgnn.models.dcnv2 import DCNv2
from recgnn.models.deepfm import DeepFM
from recgnn.models.din import DIN
from recgnn.models.ffm import FFM
from recgnn.models.fm import FM
from recgnn.models.gcn import GCN
from recgnn.models.lightgcn import LightGCN
from recgnn.models.lr import LR
from recgnn.models.mf import MF
from recgnn.models.ngcf import NGCF
from recgnn.models.pitf import PITF
from recgnn.models.poly2 import Poly2
from recgnn.models.wide_deep import WideDeep
from recgnn.models.xsimgcl import XSimGCL

__all__ = [
    "BST",
    "CDAE",
    "DAE",
    "DIN",
    "FFM",
    "FM",
    "GCN",
    "LR",
    "MF",
    "NGCF",
    "PITF",
    "AutoRec",
    "DCNv2",
    "DeepFM",
    "LightGCN",
    "Poly2",
    "WideDeep",
    "XSimGCL",
]
