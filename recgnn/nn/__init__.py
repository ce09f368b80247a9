"""Layers: plain torch and PyG modules, testable alone."""

from recgnn.nn.propagation import BipartiteOperator, GCNConv, LightGCNConv, NGCFConv

__all__ = ["BipartiteOperator", "GCNConv", "LightGCNConv", "NGCFConv"]
