"""`python -m recgnn.export`: a run as an ONNX model, a torch program or embeddings, usable without recgnn."""

from __future__ import annotations

from pathlib import Path

from recgnn.cli.entry import run
from recgnn.cli.options import OptionParser

DESCRIPTION = """\
Export a run to a folder of files that can be used without recgnn and that a README.md explains.

  onnx        models of clicks: the graph, the encoding of raw rows, and score.py, which scores a table with
              onnxruntime and without torch
  torch       every model: a program of torch.export (model.pt2)
  embeddings  models that recommend: vectors of users and items, whose inner product is the score, with their ids
"""
EXAMPLES = """\
examples:
  python -m recgnn.export --run runs/deepfm-ml-100k/1 --format onnx --output deepfm
  python deepfm/score.py rows.csv --output scores.csv
  python -m recgnn.export --run runs/lightgcn-ml-100k/1 --format embeddings --index faiss --output vectors
"""


def parser() -> OptionParser:
    """Build the parser of the command's options."""
    parser = OptionParser("export", DESCRIPTION, "--run DIR --format FORMAT --output DIR [options]", epilog=EXAMPLES)
    parser.add_run()
    parser.add_argument("--format", required=True, choices=("onnx", "torch", "embeddings"), help="see above")
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="folder to write: new, empty, or an earlier export to replace"
    )
    parser.add_argument("--index", choices=("faiss",), help="embeddings: also write a FAISS index of the items")
    return parser


def main(argv: list[str]) -> Path:
    """Export the run named on the command line; returns the folder."""
    options = parser().read(argv)
    from recgnn.serving.exporting.export import export

    folder = export(options.run, options.format, options.output, options.index, options.trust)
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{folder}: {', '.join(sorted(file.name for file in folder.iterdir()))} ({size / 2**20:,.1f} MB)")
    if options.format == "onnx":
        print(f"next        python {folder}/score.py rows.csv --output scores.csv")
    return folder


if __name__ == "__main__":
    run(main)
