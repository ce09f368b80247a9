"""`python -m recgnn.export`: a run as ONNX, as a program of torch.export, or as vectors."""

from __future__ import annotations

from argparse import RawDescriptionHelpFormatter
from pathlib import Path

from recgnn.cli.options import OptionParser
from recgnn.serving.exporting.export import FORMATS, export

__all__ = ["export", "main"]

DESCRIPTION = """\
Takes a run into use outside of recgnn: a folder of files that explain themselves (README.md).

  onnx        models of clicks (LR to BST): the graph, the encoding of raw rows, and score.py, which scores a table with
              onnxruntime and without torch
  torch       every model: a program of torch.export (model.pt2)
  embeddings  models that recommend: vectors of users and items, whose inner product is the score, with raw ids
"""
EXAMPLES = """\
examples:
  python -m recgnn.export --run runs/deepfm-ml-100k/1 --format onnx --output deepfm
  python deepfm/score.py rows.csv --output scores.csv
  python -m recgnn.export --run runs/lightgcn-ml-100k/1 --format embeddings --index faiss --output vectors
"""


def main(argv: list[str]) -> Path:
    """Export the run that is named on the command line; returns the folder."""
    parser = OptionParser(
        prog="python -m recgnn.export",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--run", required=True, help="run folder, as written by python -m recgnn.fit")
    parser.add_argument("--format", required=True, choices=FORMATS, help="see above")
    parser.add_argument(
        "--output", required=True, help="folder to write: a new or an empty one, or an earlier export, to be replaced"
    )
    parser.add_argument("--index", choices=("faiss",), help="embeddings: write a FAISS index of the items too")
    options = parser.parse_args(argv)
    folder = export(options.run, options.format, options.output, options.index)
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{folder}: {', '.join(sorted(file.name for file in folder.iterdir()))} ({size / 2**20:,.1f} MB)")
    if options.format == "onnx":
        print(f"next        python {folder}/score.py rows.csv --output scores.csv")
    return folder
