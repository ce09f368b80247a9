"""`python -m recgnn.similar`: the items most similar to given items of a trained run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recgnn.cli.entry import run
from recgnn.cli.options import OptionParser, add_ids, add_item_filters, ids_of, item_filters
from recgnn.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

DESCRIPTION = """\
List the items most similar to given items: those with the highest cosine of the learnt representations.
"""
EXAMPLES = """\
example:
  python -m recgnn.similar --run runs/lightgcn-ml-100k/1 --items 50,181 --k 10
"""


def parser() -> OptionParser:
    """Build the parser of the command's options."""
    parser = OptionParser("similar", DESCRIPTION, "--run DIR --items IDS [options]", epilog=EXAMPLES)
    parser.add_run()
    add_ids(parser, "items", "item ids")
    parser.add_argument("--k", type=int, default=10, metavar="N", help="number of similar items for each (default: 10)")
    parser.add_output()
    add_item_filters(parser)
    return parser


def main(argv: list[str]) -> pd.DataFrame | None:
    """List the items similar to those named on the command line.

    Returns:
        The table that was printed; None if it was written to a file.
    """
    options = parser().read(argv)
    items = ids_of(options, "items")
    if items is None:
        raise ConfigError("similar needs --items or --items_file")
    from recgnn.serving.loading import load
    from recgnn.serving.output import check_output, write

    check_output(options.output)
    similar = load(options.run, options.trust).similar_items(items, options.k, **item_filters(options))
    return write(iter([similar]), options.output)


if __name__ == "__main__":
    run(main)
