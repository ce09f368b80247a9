"""A run of `fit` on a configuration that leaves what it can to the defaults; shared by the tables of defaults."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

import yaml

from recgnn.fit import main as fit

KEPT = ("val", "test", "best_epoch", "epochs", "baselines", "notes")


def run(config: dict[str, Any], folder: Path, simple: bool) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Fit a configuration, with the simple methods beside it if they are wanted.

    Args:
        config: The sections of its YAML.
        folder: Where config.yaml, output.txt and the run folder `run` are written.
        simple: Whether the simple methods are fitted, too.

    Returns:
        What metrics.json has of `KEPT`, config.yaml as it was chosen, and CPU seconds.
    """
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    os.environ.pop("RECGNN_RUN_DIR", None)
    start = time.process_time()
    with (folder / "output.txt").open("w") as output, contextlib.redirect_stdout(output):
        more = ["--baselines", "true"] if simple else []
        fit(["--config", str(folder / "config.yaml"), "--run_dir", str(folder / "run"), *more])
    seconds = round(time.process_time() - start)
    content = json.loads((folder / "run" / "metrics.json").read_text())
    chosen = yaml.safe_load((folder / "run" / "config.yaml").read_text())
    return {name: content[name] for name in KEPT if name in content}, chosen, seconds
