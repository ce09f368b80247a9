"""The progress bar of work on data: reading, encoding, downloading, recommending."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(text: str, total: int | None, unit: str = "rows") -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr while the main thread works; nothing unless stderr is a terminal.

    Args:
        text: The work.
        total: How many rows or bytes there are, if that is known.
        unit: `rows` or `bytes`.

    Yields:
        A function that takes how many more have been done.
    """
    if not sys.stderr.isatty() or threading.current_thread() is not threading.main_thread():
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn

    counted: ProgressColumn = DownloadColumn() if unit == "bytes" else TextColumn("{task.completed:,.0f} rows")
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(bar_width=30), counted, TimeElapsedColumn(),
        console=Console(stderr=True), transient=True,
    )  # fmt: skip
    with bar:
        task = bar.add_task(text, total=total)
        yield lambda count: bar.advance(task, count)
