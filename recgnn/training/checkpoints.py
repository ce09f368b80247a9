"""How a checkpoint is put on disk: whole or not at all (cli/fitting.py says which ones and when)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from recgnn.files import atomic_path
from recgnn.training.table_files import completed


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints whole or not at all, and says so in one line when the disk is full; reads them with the tables
    that lie beside them."""

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint, with the tables that lie beside it."""
        return completed(super().load_checkpoint(path, map_location, weights_only), Path(path))

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint, whole or not at all.

        Raises:
            OSError: If the disk is full.
        """
        with atomic_path(path) as temporary:
            try:
                torch.save(checkpoint, temporary)
            except RuntimeError as error:  # torch's own writer reports a full disk so
                if "PytorchStreamWriter" not in str(error) and "unexpected pos" not in str(error):
                    raise
                raise OSError(None, "the disk is full or the file too large", str(temporary)) from error
