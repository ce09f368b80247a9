"""`python -m recgnn.recommend`: the best items for users of a trained run, or for new users with a history."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from recgnn.cli.entry import run
from recgnn.cli.options import OptionParser, add_ids, add_item_filters, ids_of, item_filters, listed
from recgnn.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from recgnn.serving.recommender import TrainedRecommender

DESCRIPTION = """\
Recommend the best items to users, leaving out those that they know. All ids are those of your data.
"""
EXAMPLES = """\
examples:
  python -m recgnn.recommend --run runs/lightgcn-ml-100k/1 --users 196,22 --k 10
  python -m recgnn.recommend --run runs/lightgcn-ml-100k/1 --output recommendations.parquet   (every user)
  python -m recgnn.recommend --run runs/lightgcn-ml-100k/1 --history 50,181                   (a new user)
"""


def parser() -> OptionParser:
    """Build the parser of the command's options."""
    parser = OptionParser("recommend", DESCRIPTION, epilog=EXAMPLES)
    parser.add_run()
    parser.add_argument("--k", type=int, default=10, metavar="N", help="number of items per user (default: 10)")
    parser.add_output()
    who = parser.add_argument_group("users (default: all users of the run)")
    add_ids(who, "users", "user ids")
    who.add_argument(
        "--history",
        metavar="IDS",
        help="item ids, separated by commas or a JSON list, of a user who is not in the training data (MF, GCN, NGCF, "
        "LightGCN, AutoRec by user, DAE, and CDAE without its user node)",
    )
    who.add_argument(
        "--history_ratings",
        metavar="NUMBERS",
        help="ratings of the items of --history, for models that predict ratings (default: the highest rating)",
    )
    who.add_argument(
        "--histories_file",
        metavar="FILE",
        help="csv, tsv or parquet file with columns user, item and optionally rating: the histories of new users",
    )
    what = parser.add_argument_group("items")
    what.add_argument(
        "--exclude_seen",
        choices=("all", "train+val", "train", "none"),
        help="leave out the items that the user has in these parts of the run's data (default: all; none in a run that "
        "keeps repeats). To measure a recommendation by the test part take train+val",
    )
    add_item_filters(what)
    what.add_argument(
        "--context",
        metavar="VALUES",
        help="models of clicks: values of fields, as in daytime=morning,weekday=monday, in place of those of the "
        "user's last event",
    )
    what.add_argument(
        "--fallback",
        choices=["popularity"],
        help="recommend the most popular items to unknown users; a column source tells which rows these are. Without "
        "it an unknown user or item is an error",
    )
    return parser


def main(argv: list[str]) -> pd.DataFrame | None:
    """Recommend items to the users named on the command line.

    Returns:
        The table that was printed; None if it was written to a file.
    """
    options = parser().read(argv)
    _check(options)
    from recgnn.serving.filters import left_out
    from recgnn.serving.loading import load
    from recgnn.serving.output import check_output, write
    from recgnn.serving.recommender import TrainedRecommender

    check_output(options.output)
    trained = load(options.run, options.trust)
    if options.history is None and options.histories_file is None:
        users, context = ids_of(options, "users"), _context(options.context)
        blocks = trained.recommend_blocks(
            users, options.k, options.exclude_seen, fallback=options.fallback, context=context, **item_filters(options)
        )
        written = write(blocks, options.output)
        exclusion = options.exclude_seen or trained.usual_exclusion
        parts = ", ".join(left_out(exclusion))
        told = f"the items that users have in {parts}" if parts else "nothing"
        print(f"left out: {told} (--exclude_seen {exclusion})", file=sys.stderr)
        return written
    model = type(trained.model).__name__
    if not isinstance(trained, TrainedRecommender):
        raise ConfigError(
            f"{options.run}: {model} knows users by their fields; give new users as rows to python -m recgnn.predict "
            "instead of their histories"
        )
    if options.history_ratings is not None and trained.model.task != "rating":
        raise ConfigError(f"{model} does not use ratings; leave --history_ratings out")
    return write(_for_histories(trained, options), options.output)


def _check(options: Namespace) -> None:
    """Refuse options that contradict each other."""
    if options.history is None and options.histories_file is None:
        if options.history_ratings is not None:
            raise ConfigError("--history_ratings needs --history, the items that were rated")
        return
    name = "--history" if options.history is not None else "--histories_file"
    if options.users is not None or options.users_file is not None or options.exclude_seen:
        raise ConfigError(f"{name} is for users who are not in the training data: leave --users and --exclude_seen out")
    if options.history is not None and options.histories_file is not None:
        raise ConfigError("--history and --histories_file: give one of them")
    if options.context is not None:
        raise ConfigError(f"{name} and --context do not go together")
    if options.histories_file is not None and options.history_ratings is not None:
        raise ConfigError("--history_ratings is for --history; a histories_file has a column rating")


def _context(text: str | None) -> dict[str, str] | None:
    """Values of fields from `name=value,name=value`."""
    if text is None:
        return None
    pairs = [pair.partition("=") for pair in text.split(",")]
    if not all(sign for _, sign, _ in pairs):
        raise ConfigError(f"--context {text}: expected name=value, separated by commas")
    context = {name.strip(): value.strip() for name, _, value in pairs}
    if len(context) < len(pairs):
        raise ConfigError(f"--context {text}: names a field twice")
    return context


def _for_histories(trained: TrainedRecommender, options: Namespace) -> Iterator[pd.DataFrame]:
    """Yield recommendations for users who are not in the training data."""
    filters: dict[str, Any] = {"fallback": options.fallback, **item_filters(options)}
    if options.histories_file is not None:
        import pandas as pd

        from recgnn.data.readers.tables import text_blocks

        frame = pd.concat(list(text_blocks(options.histories_file)), ignore_index=True)
        yield from trained.history_blocks(frame, options.k, **filters)
        return
    ratings = None
    if options.history_ratings is not None:
        try:
            ratings = [[float(number) for number in options.history_ratings.split(",")]]
        except ValueError:
            raise ConfigError(f"--history_ratings {options.history_ratings}: expected numbers") from None
    history = listed(options.history, "--history")
    if not history and not options.fallback:
        raise ConfigError("--history: no ids given")
    for block in trained.history_blocks([history], options.k, ratings, **filters):
        yield block.assign(user="new")


if __name__ == "__main__":
    run(main)
