"""Finished runs compared in tables and on a page of figures."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from recgnn.comparison import text
from recgnn.comparison.page import page
from recgnn.comparison.reading import find
from recgnn.comparison.tables import Table, tables
from recgnn.data.stored import write_json
from recgnn.errors import RunError
from recgnn.files import atomic_path


def compare(
    runs: Sequence[str | Path],
    output: str | Path = "compare",
    metric: str | None = None,
    baseline: str | None = None,
    show: bool = False,
    simple: Callable[[Path, Iterable[str]], dict[str, Any]] | None = None,
) -> list[Table]:
    """Compare runs, print the tables, and write them and the page into a folder.

    Args:
        runs: run folders, or folders above some.
        output: the folder to write to.
        metric: the metric of the order and the tests; by default the usual one of each task.
        baseline: the name of a line, or of its model, to test against; the best one by default.
        show: open the page in a browser.
        simple: fits simple methods to the data of a ranking run, given its folder and the names of its metrics; they
            stand in the tables beside the runs, by their `baselines` alone where it is None.

    Raises:
        RunError: If there is no finished run.
        ConfigError: If no run has the metric, or no line the baseline's name.
    """
    found, left = find(runs)
    if not found:
        raise RunError(f"nothing to compare: {'; '.join(left[:5])}")
    beside: dict[str, dict[str, Any]] = {}
    for run in found:
        if simple is not None and run.task == "ranking" and "recommendations" not in run.content:
            if run.part not in beside:
                print(f"fitting simple methods to the data of {run.folder}", flush=True)
                beside[run.part] = simple(run.folder, run.content["test"])
            run.content["baselines"] = beside[run.part]
    compared = tables(found, metric, baseline)
    text.show(compared)
    for note in left:
        print(f"note: {note}")
    folder = Path(output).expanduser()
    texts = {"compare.md": text.markdown(compared), "compare.csv": text.csv(compared)}
    texts["compare.html"] = page(compared, left)
    for name, content in texts.items():
        with atomic_path(folder / name) as path:
            path.write_text(content, encoding="utf-8")
    write_json(folder / "compare.json", {"lines": text.records(compared), "notes": left})
    print(f"page        {folder}/compare.html  (and compare.md, compare.csv, compare.json)")
    if show:
        webbrowser.open((folder / "compare.html").resolve().as_uri())
    return compared
