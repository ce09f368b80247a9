"""Checkpoints of a run as W&B artifacts, each with the files that are needed to use it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recgnn.training import report
from recgnn.training import run_folder as runs


def log_checkpoints(
    logger: Any, run: Path, model: str, data: str, content: dict[str, Any], rows: list[dict[str, Any]]
) -> None:
    """Log the best and the last checkpoint as versions `best` and `last` of the run's artifact.

    Args:
        logger: a `WandbLogger`.
        run: the run folder.
        model: name of the model.
        data: name of the data.
        content: metrics.json.
        rows: metrics.csv, a dict per epoch.
    """
    of_best = {"epoch": content["best_epoch"], "val": measured(content["val"]), "test": measured(content["test"])}
    best = runs.best_checkpoint(run).relative_to(run)
    last = best.with_name(runs.LAST)
    if best == last:  # nothing was validated, or it is the second half of `fit --refit`
        versions = [(last, ["best", "last"], of_best)]
    else:
        of_last = {"epoch": rows[-1]["epoch"], "val": measured(report.part_metrics(rows[-1], "val"))}
        versions = [(last, ["last"], of_last), (best, ["best"], of_best)]
    for checkpoint, aliases, known in versions:
        measured_by = "best" in aliases  # metrics.json is of the best
        files = [path for path in files_of_use(run) if measured_by or path.name != "metrics.json"] + [checkpoint]
        metadata = {"model": model, "data": data, **known}
        logger.log_checkpoint(f"{model.lower()}-{data}", run, files, aliases, metadata)


def measured(metrics: dict[str, float | None]) -> dict[str, float]:
    """Return the metrics that have a value."""
    return {name: value for name, value in metrics.items() if value is not None}


def files_of_use(run: Path) -> list[Path]:
    """Return the files, relative to a run folder, that are needed to use it beside a checkpoint.

    The encoded events of clicks, which may be larger than everything else, are not.
    """
    stored = sorted(path for path in (run / "vocabulary").iterdir() if path.is_file())
    if (run / "vocabulary" / "fields.json").is_file():
        stored = [path for path in stored if path.name.partition(".")[0] not in ("train", "val", "test")]
    return [path.relative_to(run) for path in (run / "config.yaml", run / "metrics.json", *stored)]
