"""The commands that use a finished run: recommend, similar, predict."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

import pandas as pd
import torch

from recgnn.cli.options import OptionParser
from recgnn.data.readers.tables import text_blocks
from recgnn.errors import ConfigError, DataError
from recgnn.files import existing_file
from recgnn.serving.clicks import TrainedCTR
from recgnn.serving.ids import POPULARITY
from recgnn.serving.loading import load
from recgnn.serving.output import check_output, write


def main(command: str, argv: list[str]) -> pd.DataFrame | None:
    """`recommend`, `similar` and `predict`; returns what was written, or None where it was streamed to a file."""
    return {"recommend": _recommend, "similar": _similar, "predict": _predict}[command](argv)


def _parser(command: str, description: str) -> argparse.ArgumentParser:
    parser = OptionParser(prog=f"python -m recgnn.{command}", description=description, allow_abbrev=False)
    parser.add_argument("--run", required=True, help="run folder, as written by python -m recgnn.fit")
    if command != "predict":
        parser.add_argument("--k", type=int, default=10, help="how many (default: 10)")
    parser.add_argument("--output", default="-", help="file.csv, file.parquet, or - for the screen (default)")
    return parser


def _recommend(argv: list[str]) -> pd.DataFrame | None:
    parser = _parser("recommend", "The best items for users of a trained run, without those they know.")
    who = parser.add_argument_group("for whom (all users of the run when none of these is given)")
    who.add_argument("--users", help="user ids, separated by commas")
    who.add_argument("--users_file", help="a file with a user id a line")
    who.add_argument(
        "--history",
        help="item ids, separated by commas, of somebody who was not in train. For MF, GCN, NGCF, LightGCN, AutoRec by "
        "user, DAE and CDAE; CDAE goes without its user node (zero)",
    )
    who.add_argument(
        "--history_ratings",
        help="the ratings of those items, for models of ratings; the highest one in train when not given",
    )
    who.add_argument(
        "--histories_file",
        help="file.csv, file.tsv or file.parquet with columns user, item and perhaps rating: what users had who were "
        "not in train",
    )
    what = parser.add_argument_group("what")
    what.add_argument("--include_seen", action="store_true", help="keep items that the user knows")
    what.add_argument("--candidates", help="item ids to choose from, separated by commas; all items by default")
    what.add_argument("--candidates_file", help="a file with an item id a line")
    what.add_argument("--exclude", help="item ids that are not to be recommended, separated by commas")
    what.add_argument("--exclude_file", help="a file with an item id a line")
    what.add_argument(
        "--context",
        help="CTR models: values of fields, as daytime=morning,weekday=monday, instead of the last event's",
    )
    what.add_argument(
        "--fallback",
        choices=[POPULARITY],
        help="what is recommended to somebody of whom nothing is known; a column source then tells it from the "
        "model's. Without it, an unknown user or item is an error",
    )
    options = parser.parse_args(argv)
    check_output(options.output)
    if options.history is not None or options.histories_file is not None:
        return _recommend_histories(options)
    if options.history_ratings is not None:
        raise ConfigError("--history_ratings needs --history, the items that were rated")
    trained = load(options.run)
    context = {}
    if isinstance(trained, TrainedCTR):
        context = {"context": _context(options.context)}
    elif options.context is not None:
        raise ConfigError("--context is for CTR models")
    blocks = trained.recommend_blocks(
        listed(options.users, options.users_file),
        options.k,
        not options.include_seen,
        fallback=options.fallback,
        **_filters(options),
        **context,
    )
    return write(blocks, options.output)


def _filters(options: argparse.Namespace) -> dict[str, list[str] | None]:
    candidates = listed(options.candidates, options.candidates_file)
    return {"candidates": candidates, "exclude": listed(options.exclude, options.exclude_file)}


def _context(text: str | None) -> dict[str, str] | None:
    if text is None:
        return None
    pairs = [pair.partition("=") for pair in text.split(",")]
    if not all(sign for _, sign, _ in pairs):
        raise ConfigError(f"--context {text}: expected name=value, separated by commas")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _recommend_histories(options: argparse.Namespace) -> pd.DataFrame | None:
    name = "--history" if options.history is not None else "--histories_file"
    if options.users is not None or options.users_file is not None or options.include_seen:
        raise ConfigError(f"{name} is for somebody who was not in train: leave --users and --include_seen out")
    if options.history is not None and options.histories_file is not None:
        raise ConfigError("--history and --histories_file: give one of them")
    if options.context is not None:
        raise ConfigError(f"{name} and --context do not go together")
    trained = load(options.run)
    model = type(trained.model).__name__
    if isinstance(trained, TrainedCTR):
        raise ConfigError(
            f"{options.run}: {model} knows users by their fields: give new ones as rows to python -m recgnn.predict, "
            f"not by {name}"
        )
    if options.history_ratings is not None and trained.model.task != "rating":
        raise ConfigError(f"{model} knows no ratings; leave --history_ratings out")
    if options.histories_file is not None:
        if options.history_ratings is not None:
            raise ConfigError("--history_ratings is for --history; a histories_file has a column rating")
        frame = pd.concat(list(text_blocks(options.histories_file, ["user", "item"])), ignore_index=True)
        blocks = trained.history_blocks(frame, options.k, fallback=options.fallback, **_filters(options))
        return write(blocks, options.output)
    ratings = None
    if options.history_ratings is not None:
        try:
            ratings = [[float(x) for x in options.history_ratings.split(",")]]
        except ValueError:
            raise ConfigError(f"--history_ratings {options.history_ratings}: expected numbers") from None
    history = [] if options.fallback and not options.history.strip(" ,") else listed(options.history, None)
    blocks = trained.history_blocks([history], options.k, ratings, fallback=options.fallback, **_filters(options))
    return write((block.assign(user="new") for block in blocks), options.output)


def _predict(argv: list[str]) -> pd.DataFrame | None:
    parser = _parser(
        "predict", "A probability (CTR models), a rating, or (models that rank) a score for each row of a table."
    )
    parser.add_argument(
        "--input", required=True, help="file.csv, file.tsv or file.parquet, with columns user and item, or the fields"
    )
    parser.add_argument("--user", default="user", help="the column of users (default: user)")
    parser.add_argument("--item", default="item", help="the column of items (default: item)")
    options = parser.parse_args(argv)
    check_output(options.output)
    trained = load(options.run)
    if isinstance(trained, TrainedCTR):
        return _predict_events(trained, options)
    names = {options.user: "user", options.item: "item"}
    cold = [0, 0]  # rows with an unknown user or item, all rows

    def blocks() -> Iterator[pd.DataFrame]:
        for frame in text_blocks(options.input, list(names), "name it with --user or --item"):
            users, items = trained.rows_of(frame[list(names)].rename(columns=names))
            cold[0] += int(((users < 0) | (items < 0)).sum())
            cold[1] += len(frame)
            yield frame.assign(prediction=trained.scores_of(users, items))

    written = write(blocks(), options.output)
    if cold[0]:
        answer = "left empty"
        if trained.model.task == "rating":
            rating = trained.model.predict_pairs(torch.tensor([-1]), torch.tensor([-1]))
            answer = f"predicted {float(rating):.4g}"
        print(f"{cold[0]:,} of {cold[1]:,} rows have a user or item that train lacks: {answer}", file=sys.stderr)
    return written


def _predict_events(trained: TrainedCTR, options: argparse.Namespace) -> pd.DataFrame | None:
    lacking: list[str] = []

    def blocks() -> Iterator[pd.DataFrame]:
        for number, frame in enumerate(text_blocks(options.input, [])):
            if number == 0:
                lacking.extend(trained.missing(frame))
                if len(lacking) == len(trained.columns):
                    raise DataError(
                        f"{options.input}: has none of the model's columns ({', '.join(trained.columns)}); found: "
                        f"{', '.join(map(str, frame.columns[:12]))}"
                    )
            yield trained.predict(frame)

    written = write(blocks(), options.output)
    if lacking:
        print(f"columns not there, taken as having no value: {', '.join(lacking)}", file=sys.stderr)
    return written


def _similar(argv: list[str]) -> pd.DataFrame | None:
    parser = _parser("similar", "The items most like given items, by the cosine of their representations.")
    parser.add_argument("--items", help="item ids, separated by commas")
    parser.add_argument("--items_file", help="a file with an item id a line")
    parser.add_argument("--candidates", help="item ids to choose from, separated by commas; all items by default")
    parser.add_argument("--candidates_file", help="a file with an item id a line")
    parser.add_argument("--exclude", help="item ids to leave out, separated by commas")
    parser.add_argument("--exclude_file", help="a file with an item id a line")
    options = parser.parse_args(argv)
    check_output(options.output)
    items = listed(options.items, options.items_file)
    if items is None:
        raise ConfigError("similar needs --items or --items_file")
    found = load(options.run).similar_items(items, options.k, **_filters(options))
    return write(iter([found]), options.output)


def listed(text: str | None, file: str | None) -> list[str] | None:
    """What stands on the command line, separated by commas, and in a file, a line each; None where neither is given."""
    if text is None and file is None:
        return None
    found = [] if text is None else [part.strip() for part in text.split(",") if part.strip()]
    if file is not None:
        lines = existing_file(file, "file of ids").read_text(encoding="utf-8").splitlines()
        found += [line.strip() for line in lines if line.strip()]
    if not found:
        raise ConfigError("no ids given")
    return found
