"""The models, one file per paper."""

from recgnn.models.autorec import AutoRec
from recgnn.models.bst import BST
from recgnn.models.cdae import CDAE
from recgnn.models.dae import DAE
from recgnn.models.dcnv2 import DCNv2
from recgnn.models.deepfm import DeepFM
from recgnn.models.din import DIN
from recgnn.models.ease import EASE
from recgnn.models.ffm import FFM
from recgnn.models.fm import FM
from recgnn.models.gcn import GCN
from recgnn.models.graph_filter import GraphFilter
from recgnn.models.ials import iALS
from recgnn.models.item_knn import ItemKNN
from recgnn.models.lightgcn import LightGCN
from recgnn.models.lr import LR
from recgnn.models.mf import MF
from recgnn.models.ngcf import NGCF
from recgnn.models.pitf import PITF
from recgnn.models.poly2 import Poly2
from recgnn.models.popularity import Popularity
from recgnn.models.wide_deep import WideDeep
from recgnn.models.xsimgcl import XSimGCL

__all__ = [
    "BST",
    "CDAE",
    "DAE",
    "DIN",
    "EASE",
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
    "GraphFilter",
    "ItemKNN",
    "LightGCN",
    "Poly2",
    "Popularity",
    "WideDeep",
    "XSimGCL",
    "iALS",
]
