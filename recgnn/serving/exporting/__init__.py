"""Runs exported as files that can be used without recgnn."""

from recgnn.serving.exporting.export import export

__all__ = ["export"]
