"""`python -m recgnn.compare`: runs side by side, in tables and on a page of figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recgnn.cli.entry import run
from recgnn.cli.options import OptionParser

if TYPE_CHECKING:
    from recgnn.comparison.tables import Table

DESCRIPTION = """\
Compare finished runs: a table for each data set and test part, on the screen and as compare.md, compare.csv,
compare.json and compare.html, a page of figures. Runs that differ only in their seeds become one line, with mean and
standard deviation. Every line is tested against the best one, over users.
"""
EXAMPLES = """\
example:
  python -m recgnn.compare runs/lightgcn-ml-100k runs/mf-ml-100k --output compare
"""


def parser() -> OptionParser:
    """Build the parser of the command's options."""
    parser = OptionParser("compare", DESCRIPTION, "FOLDER [FOLDER …] [options]", epilog=EXAMPLES)
    parser.add_argument("runs", nargs="+", metavar="FOLDER", help="run folders, or folders that contain some")
    parser.add_argument("--output", default="compare", metavar="DIR", help="folder to write (default: compare)")
    parser.add_argument(
        "--metric", metavar="NAME", help="metric to order and test lines by, as ndcg@20 (default: depends on the task)"
    )
    parser.add_argument(
        "--baseline", metavar="NAME", help="line, or model, to test the others against (default: the best)"
    )
    parser.add_argument(
        "--baselines",
        nargs="?",
        const="yes",
        default="no",
        choices=("yes", "no"),
        help="rankings: fit EASE (or GraphFilter) and ItemKNN to the runs' data, with settings chosen on validation, "
        "and show them beside the runs (default: no)",
    )
    parser.add_argument(
        "--open", nargs="?", const="yes", default="no", choices=("yes", "no"), help="open the page (default: no)"
    )
    return parser


def main(argv: list[str]) -> list[Table]:
    """Compare the runs named on the command line; returns their tables."""
    options = parser().read(argv)
    from recgnn.comparison import compare

    names = (options.output, options.metric, options.baseline, options.open == "yes")
    if options.baselines == "no":
        return compare(options.runs, *names)
    from recgnn.training.yardsticks import of_run

    return compare(options.runs, *names, of_run)


if __name__ == "__main__":
    run(main)
