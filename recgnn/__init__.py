"""recgnn: graph recommenders on PyTorch Lightning and PyG, from an interaction log to a recommendation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recgnn.serving.loading import TrainedRecommender, load

__all__ = ["TrainedRecommender", "load"]
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    if name in __all__:
        from recgnn.serving import loading as serving

        return getattr(serving, name)
    raise AttributeError(f"module 'recgnn' has no attribute {name!r}")
