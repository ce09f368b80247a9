"""What a process that trains sets up: the allocator, and which warnings of Lightning and torch are shown."""

from __future__ import annotations

import logging
import os
import warnings

from recgnn.data.memory import keep_freed_memory

LOGGERS = (
    *("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed", "lightning.pytorch"),
    "lightning.fabric.utilities.distributed",
)
WARNINGS = (
    "LightningCLI's args parameter",
    ".*does not have many workers",
    ".*is smaller than the logging interval",
    "Total length of .* across ranks is zero",
    ".*treespec, LeafSpec",
    "Sparse CSR tensor support is in beta",
    ".*configure_optimizers` will be overridden",
    "Be aware that when using `ckpt_path`, callbacks",
    "Checkpoint directory .* exists and is not empty",
    "The dirpath has changed from",
    ".*you set `limit",
    ".*Precision bf16-mixed is not supported by the model summary",
    "It is recommended to use .*sync_dist=True",
    "You're resuming from a checkpoint that ended before the epoch ended",  # EpochPosition knows where
)
"""Warnings about what recgnn does on purpose."""


def set_up_process() -> None:
    """Keep freed memory, and silence warnings about what recgnn does on purpose."""
    keep_freed_memory()
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    for message in WARNINGS:
        warnings.filterwarnings("ignore", message=message)
