"""`python -m recgnn.compare`: runs side by side, as tables and as a page of figures."""

from __future__ import annotations

import webbrowser
from pathlib import Path

from recgnn.cli.options import OptionParser
from recgnn.comparison import text
from recgnn.comparison.page import page
from recgnn.comparison.reading import find
from recgnn.comparison.tables import Table, tables
from recgnn.errors import RunError
from recgnn.files import atomic_path
from recgnn.training.run_folder import write_json


def main(argv: list[str]) -> list[Table]:
    """Compare the runs that are named on the command line; returns their tables."""
    parser = OptionParser(
        prog="python -m recgnn.compare",
        description="Compares finished runs: a table for each data set and test part, on the screen and as compare.md, "
        "compare.csv, compare.json and compare.html, a page of figures. Runs that differ in seeds alone are one line, "
        "mean and standard deviation. Each line is tested against the best one, over users.",
        allow_abbrev=False,
    )
    parser.add_argument("runs", nargs="+", metavar="FOLDER", help="run folders, or folders that have some beneath")
    parser.add_argument("--output", default="compare", help="folder of what is written (default: compare)")
    parser.add_argument("--metric", help="what lines are ordered and tested by, as ndcg@20 (default: the task's usual)")
    parser.add_argument("--baseline", help="the line, or its model, that others are tested against (default: the best)")
    parser.add_argument(
        "--open", nargs="?", const="yes", default="no", choices=("yes", "no"), help="show the page (default: no)"
    )
    options = parser.parse_args(argv)
    return compare(options.runs, options.output, options.metric, options.baseline, options.open == "yes")


def compare(
    runs: list[str | Path],
    output: str | Path = "compare",
    metric: str | None = None,
    baseline: str | None = None,
    show: bool = False,
) -> list[Table]:
    """Compare runs, print the tables and write them and the page into a folder.

    Args:
        runs: run folders, or folders that have some beneath.
        output: the folder.
        metric: of the order and the tests; by default the usual one of each task.
        baseline: the line, or its model, that others are tested against; the best one by default.
        show: open the page in a browser.

    Raises:
        RunError: if there is no finished run.
        ConfigError: if no run has the metric, or none is called as the baseline.
    """
    found, left = find(runs)
    if not found:
        raise RunError(f"nothing to compare: {'; '.join(left[:5])}")
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
