"""`python -m recgnn.predict`: a rating, probability or score for each row of a table, from a trained run."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator
from typing import TYPE_CHECKING

from recgnn.cli.entry import run
from recgnn.cli.options import OptionParser

if TYPE_CHECKING:
    import pandas as pd

    from recgnn.serving.clicks import TrainedCTR
    from recgnn.serving.recommender import TrainedRecommender

DESCRIPTION = """\
Add a column `prediction` to a table: the probability of a click (models of clicks), the rating (models that predict
ratings) or the score (models that rank) of each row. The table may have any number of rows.
"""
REMEDY = "name it with --user or --item"
EXAMPLES = """\
examples:
  python -m recgnn.predict --run runs/deepfm-ml-100k/1 --input rows.csv --output predictions.parquet
  python -m recgnn.predict --run runs/autorec-ml-100k/1 --input pairs.csv --user customer --item product
  python -m recgnn.predict --run runs/ffm-criteo/1 --input test.ffm --output predictions.parquet
"""


def parser() -> OptionParser:
    """Build the parser of the command's options."""
    parser = OptionParser("predict", DESCRIPTION, "--run DIR --input FILE [options]", epilog=EXAMPLES)
    parser.add_run()
    parser.add_argument(
        "--input",
        required=True,
        metavar="FILE",
        help="csv, tsv or parquet file with a column of users and a column of items, or with the fields of a model of "
        "clicks; or libsvm or libffm text, where such text was trained on",
    )
    told = "what stands before the fraction of numbers in text (default: as in the data of the run)"
    parser.add_argument("--decimal", choices=(".", ","), help=told)
    parser.add_output()
    for side in ("user", "item"):
        text = f"name of the column of {side}s (default: {side}, or its name in the run's data)"
        parser.add_argument(f"--{side}", metavar="NAME", help=text)
    return parser


def main(argv: list[str]) -> pd.DataFrame | None:
    """Predict the rows of the table named on the command line.

    Returns:
        The table that was printed; None if it was written to a file.
    """
    options = parser().read(argv)
    from recgnn.serving.clicks import TrainedCTR
    from recgnn.serving.loading import load
    from recgnn.serving.output import check_output
    from recgnn.serving.pipeline import TrainedPipeline

    check_output(options.output)
    trained = load(options.run, options.trust)
    if isinstance(trained, TrainedPipeline):
        trained = trained.ranker  # which has an answer for any pair
    options.decimal = options.decimal or ("," if trained.summary.get("decimal") == "," else ".")
    trained.names |= {side: name for side in ("user", "item") if (name := getattr(options, side)) is not None}
    return _predict_events(trained, options) if isinstance(trained, TrainedCTR) else _predict_pairs(trained, options)


def _rows(options: Namespace) -> Iterator[pd.DataFrame]:
    """Yield the rows of the table."""
    from recgnn.data.readers.tables import text_blocks

    named = [name for name in (options.user, options.item) if name is not None]
    return text_blocks(options.input, named, REMEDY, decimal=options.decimal)


def _predict_pairs(trained: TrainedRecommender, options: Namespace) -> pd.DataFrame | None:
    """Predict rows of a user and an item, and count those that the training data does not have."""
    import torch

    from recgnn.serving.output import write

    unknown = rows = 0

    def blocks() -> Iterator[pd.DataFrame]:
        nonlocal unknown, rows
        for frame in _rows(options):
            users, items = trained.rows_of(frame, options.input, REMEDY)
            unknown += int(((users < 0) | (items < 0)).sum())
            rows += len(frame)
            yield frame.assign(prediction=trained.scores_of(users, items))

    written = write(blocks(), options.output)
    if unknown:
        outcome = "left empty"
        if trained.model.task == "rating":
            rating = trained.model.predict_pairs(torch.tensor([-1]), torch.tensor([-1]))
            outcome = f"predicted as {float(rating):.4g}"
        print(
            f"{unknown:,} of {rows:,} rows have a user or item that is not in the training data: {outcome} (in "
            f"validation, {trained.cold_share:.1%} of the rows)",
            file=sys.stderr,
        )
    return written


def _predict_events(trained: TrainedCTR, options: Namespace) -> pd.DataFrame | None:
    """Predict rows of fields; name the fields that the table does not have, and those with unknown values."""
    from recgnn.serving.output import write
    from recgnn.serving.unknown import Unknown

    missing: list[str] = []
    unknown = Unknown(trained.encoders.usual)
    others: set[str] = set()

    def rows() -> Iterator[pd.DataFrame]:
        if trained.layout is not None:
            from recgnn.data.clicks.sparse_lines import is_sparse_text
            from recgnn.data.clicks.sparse_text import Layout

            if is_sparse_text(options.input):
                return Layout.of_dict(trained.layout).blocks(options.input, others)
        return _rows(options)

    def blocks() -> Iterator[pd.DataFrame]:
        for frame in rows():
            own = trained.own(frame, "prediction", options.input, REMEDY)
            missing[:] = trained.missing(own)
            yield frame.assign(prediction=trained.answers(own, unknown))

    written = write(blocks(), options.output)
    if missing:
        print(f"missing columns, taken as having no value: {', '.join(missing)}", file=sys.stderr)
    if others:
        print(f"left out, as the training data does not have them: {', '.join(sorted(others))}", file=sys.stderr)
    if cut := ", ".join(f"{column} {rows:,}" for column, rows in trained.encoders.beyond().items()):
        print(f"rows with more values than the field takes, of which the first count: {cut}", file=sys.stderr)
    if line := unknown.line():
        print(line, file=sys.stderr)
    if warning := unknown.warning():
        print(f"warning: {warning}", file=sys.stderr)
    return written


if __name__ == "__main__":
    run(main)
