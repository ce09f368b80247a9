"""What a process that is forked for a command has imported; the garbage collector leaves it out."""

# ruff: noqa: E402
from __future__ import annotations

import gc

gc.disable()

import pandas  # noqa: F401

import recgnn.cli.fitting
import recgnn.cli.measuring
import recgnn.fit
import recgnn.models
import recgnn.serving.loading  # noqa: F401

gc.freeze()
gc.enable()
