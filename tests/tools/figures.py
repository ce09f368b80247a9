"""Pictures that take no time to draw, for tests and faults that look at something else."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import IO, Any

from matplotlib.figure import Figure

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4//8/AAX+Av4N70a4AAAAAElFTkSuQmCC"
)
SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>'


def dot(figure: Any, file: str | Path | IO, format: str = "png", **options: Any) -> None:
    """Stand in for `matplotlib.figure.Figure.savefig`: save a picture of one point."""
    if isinstance(file, str | Path):
        Path(file).write_bytes(SVG.encode() if format == "svg" else PNG)
    elif isinstance(file, io.StringIO):
        file.write(SVG)
    else:
        file.write(PNG)


def empty(*arguments: Any, **options: Any) -> Figure:
    """Stand in for a function that draws a figure."""
    return Figure()


def empty_curves(*arguments: Any, **options: Any) -> dict[str, Figure]:
    """Stand in for the function that draws the figures of clicks."""
    return {name: Figure() for name in ("roc", "precision_recall", "calibration")}


EMPTY = {"learning_curves": empty, "group_bars": empty, "attention": empty, "binary_curves": empty_curves}
"""What stands in for the functions of `recgnn.evaluation.figures`."""
