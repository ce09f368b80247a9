"""The commands that use a finished run: recommend, similar, predict."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

import pandas as pd
import torch

from recgnn.ctr_serving import TrainedCTR
from recgnn.errors import ConfigError, DataError
from recgnn.files import existing_file
from recgnn.rows import check_output, read_rows, write
from recgnn.serving import load, load_recommender


def main(command: str, argv: list[str]) -> pd.DataFrame | None:
    """`recommend`, `similar` and `predict`; returns what was written, or None where it was streamed to a file."""
    return {"recommend": _recommend, "similar": _similar, "predict": _predict}[command](argv)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise ConfigError(f"{message}; --help lists the options")


def _parser(command: str, description: str) -> argparse.ArgumentParser:
    parser = _Parser(prog=f"python -m recgnn.{command}", description=description, allow_abbrev=False)
    parser.add_argument("--run", required=True, help="run folder, as written by python -m recgnn.fit")
    if command != "predict":
        parser.add_argument("--k", type=int, default=10, help="how many (default: 10)")
    parser.add_argument("--output", default="-", help="file.csv, file.parquet, or - for the screen (default)")
    return parser


def _recommend(argv: list[str]) -> pd.DataFrame | None:
    parser = _parser("recommend", "The best items for users of a trained run, without those they know.")
    parser.add_argument("--users", help="user ids, separated by commas; all users when neither option is given")
    parser.add_argument("--users_file", help="a file with a user id a line")
    parser.add_argument("--include_seen", action="store_true", help="keep items that the user knows")
    parser.add_argument("--candidates", help="CTR models: item ids to choose from, separated by commas; all by default")
    parser.add_argument(
        "--context",
        help="CTR models: values of fields, as daytime=morning,weekday=monday, instead of the last event's",
    )
    parser.add_argument(
        "--history",
        help="instead of users: item ids, separated by commas, of somebody who was not in train. For AutoRec by user, "
        "DAE and CDAE; CDAE goes without its user node (zero)",
    )
    parser.add_argument(
        "--history_ratings",
        help="the ratings of those items, for AutoRec; the highest one in train when not given",
    )
    options = parser.parse_args(argv)
    check_output(options.output)
    if options.history is not None:
        return _recommend_history(options)
    if options.history_ratings is not None:
        raise ConfigError("--history_ratings needs --history, the items that were rated")
    trained = load(options.run)
    if isinstance(trained, TrainedCTR):
        return _recommend_events(trained, options)
    if options.candidates is not None or options.context is not None:
        raise ConfigError("--candidates and --context are for CTR models")
    users = ids(options.users, options.users_file, trained.prepared.users)
    blocks = trained.recommend_blocks(users, options.k, not options.include_seen)
    return write(blocks, options.output)


def _recommend_events(trained: TrainedCTR, options: argparse.Namespace) -> pd.DataFrame | None:
    context = None
    if options.context is not None:
        pairs = [pair.partition("=") for pair in options.context.split(",")]
        if not all(sign for _, sign, _ in pairs):
            raise ConfigError(f"--context {options.context}: expected name=value, separated by commas")
        context = {name.strip(): value.strip() for name, _, value in pairs}
    users = listed(options.users, options.users_file)
    candidates = listed(options.candidates, None)
    blocks = trained.recommend_blocks(users, options.k, not options.include_seen, candidates, context)
    return write(blocks, options.output)


def _recommend_history(options: argparse.Namespace) -> pd.DataFrame | None:
    if options.users is not None or options.users_file is not None or options.include_seen:
        raise ConfigError("--history is for somebody who was not in train: leave --users and --include_seen out")
    trained = load_recommender(options.run, "recommendations")
    history = ids(options.history, None, trained.prepared.items)
    ratings = None
    if options.history_ratings is not None:
        if trained.model.task != "rating":
            raise ConfigError(f"{type(trained.model).__name__} knows no ratings; leave --history_ratings out")
        try:
            ratings = [[float(x) for x in options.history_ratings.split(",")]]
        except ValueError:
            raise ConfigError(f"--history_ratings {options.history_ratings}: expected numbers") from None
    found = trained.recommend_history([history], options.k, ratings)
    return write(iter([found.assign(user="new")]), options.output)


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
        for frame in read_rows(options.input, list(names)):
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
        for number, frame in enumerate(read_rows(options.input, [])):
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
    options = parser.parse_args(argv)
    check_output(options.output)
    if options.items is None and options.items_file is None:
        raise ConfigError("similar needs --items or --items_file")
    trained = load_recommender(options.run, "similar items")
    items = ids(options.items, options.items_file, trained.prepared.items)
    return write(iter([trained.similar_items(items, options.k)]), options.output)


def ids(text: str | None, file: str | None, vocabulary) -> list | None:
    """Raw ids from the command line or a file, typed as the vocabulary's; None where neither is given."""
    found = listed(text, file)
    return None if found is None else vocabulary.parse(found)


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
