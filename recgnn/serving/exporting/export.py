"""From a run folder to an export folder, whole or not at all."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal, get_args

import torch

import recgnn
from recgnn.data.stored import read_json, write_json
from recgnn.errors import ConfigError, RunError, one_of
from recgnn.files import atomic_folder
from recgnn.serving.clicks import TrainedCTR
from recgnn.serving.exporting import embeddings, programs, readmes
from recgnn.serving.exporting.encoding import write_encoding, write_histories
from recgnn.serving.exporting.inputs import inputs_of, native_answer
from recgnn.serving.exporting.standalone import standalone
from recgnn.serving.index import need_faiss
from recgnn.serving.loading import load
from recgnn.serving.pipeline import TrainedPipeline
from recgnn.serving.recommender import TrainedRecommender

Format = Literal["onnx", "torch", "embeddings"]
FORMATS = get_args(Format)
ABOUT = "export.json"
BAR = 1e-4  # the largest difference between an export and its model; beyond it nothing is written


def export(
    run: str | Path, format: Format, output: str | Path, index: Literal["faiss"] | None = None, trust: bool = False
) -> Path:
    """Write a run as files that need no recgnn, with a README.md that explains them and an export.json for programs.

    Args:
        run: the run folder.
        format: `onnx` (models of clicks), `torch` (every model) or `embeddings` (models that recommend).
        output: the folder to write, whole or not at all: a new or an empty one, or an earlier export.
        index: `faiss` writes an index of the items' vectors too; for `embeddings`.
        trust: see `recgnn.load`.

    Returns:
        The folder.

    Raises:
        ConfigError: for a model that has no such form, or a missing package.
        RunError: for a folder that holds something else, or a broken run.
    """
    one_of("format", format, FORMATS)
    output = Path(output).expanduser()
    _check_folder(output)
    if index is not None:
        one_of("index", index, ("faiss",))
        if format != "embeddings":
            raise ConfigError(f"--index is for --format embeddings, found --format {format}")
        need_faiss()
    if format == "onnx":
        programs.need_onnx()
    trained = load(run, trust)
    if isinstance(trained, TrainedPipeline):
        raise ConfigError(f"{run}: a pipeline is several models; export them one by one")
    _check_model(trained, format)
    with atomic_folder(output) as folder, _working(f"exporting {type(trained.model).__name__}"):
        about = _about(trained, format)
        if isinstance(trained, TrainedRecommender) and format == "embeddings":
            about |= embeddings.write_embeddings(trained, folder, index)
            text = readmes.embeddings_readme(about, index)
        else:
            about |= _write_program(trained, format, folder)
            if isinstance(trained, TrainedCTR) and format == "onnx":
                text = readmes.onnx_readme(trained, about)
            else:
                text = readmes.torch_readme(trained, about)
        (folder / "README.md").write_text(text, encoding="utf-8")
        names = sorted({ABOUT, *(file.name for file in folder.iterdir())})
        write_json(folder / ABOUT, about | {"files": names})
    return output


def _check_folder(output: Path) -> None:
    """Refuse a folder that holds anything but an earlier export.

    Raises:
        RunError: names what is there.
    """
    if output.is_dir() and any(output.iterdir()):
        own = read_json(output / ABOUT).get("files", []) if (output / ABOUT).is_file() else []
        foreign = sorted(file.name for file in output.iterdir() if file.name not in (*own, "__pycache__"))
        if foreign:
            raise RunError(
                f"{output}: holds {', '.join(foreign[:3])}, which is no export of recgnn and would be lost; choose "
                "another --output, or move it away"
            )


def _check_model(trained: TrainedCTR | TrainedRecommender, format: Format) -> None:
    """Refuse a format that is not for the model.

    Raises:
        ConfigError: names those that are.
    """
    name, clicks = type(trained.model).__name__, isinstance(trained, TrainedCTR)
    if format == "onnx" and not clicks:
        raise ConfigError(
            f"--format onnx is for CTR models, and {name} recommends; take --format embeddings (vectors whose inner "
            "product is the score) or --format torch"
        )
    if format == "embeddings" and clicks:
        raise ConfigError(
            f"--format embeddings is for models that recommend by vectors, and {name} scores events; take --format "
            "onnx or torch (recgnn.load(run).embeddings() gives the vectors of the fields user and item)"
        )


def _about(trained: TrainedCTR | TrainedRecommender, format: Format) -> dict:
    """What export.json says in every format."""
    model = trained.model
    versions = {"recgnn": recgnn.__version__, "torch": torch.__version__}
    return {
        "format": format,
        "model": type(model).__name__,
        "data": trained.summary["name"],
        "task": model.task,
        "notes": _notes(trained, format),
        "versions": versions,
    }


def _notes(trained: TrainedCTR | TrainedRecommender, format: Format) -> list[str]:
    """What a reader has to know of the scores."""
    if isinstance(trained, TrainedCTR):
        return []
    model, notes, rows = trained.model, [], trained.model.training_rows
    name, rating = type(model).__name__, model.task == "rating"
    if rows is not None and format == "embeddings":
        notes.append(f"{name} encoded each {rows} from its row of the training data; for a new {rows} take `--format "
                     "torch`")  # fmt: skip
        if (last := getattr(model, "output_activation", "identity")) != "identity":
            spread = ", spread over the range of the ratings" if rating else ""
            notes.append(f"recgnn's own scores are the {last} of the inner product{spread}")
    elif rows is not None:
        cells, other = "ratings" if rating else "ones", "item" if rows == "user" else "user"
        notes.append(f"`rows` are of {rows}s: {cells} for the {other}s that each of them has (`row` of "
                     f"{other}s.parquet), else 0; the scores are of all {other}s; where there are `users` too, -1 is "
                     "a user who is not in the training data")  # fmt: skip
    if rating:
        low, high = float(model.low), float(model.high)
        notes.append(f"scores are ratings; `recgnn.predict` clips them to the range of the training data, {low:g} to "
                     f"{high:g}")  # fmt: skip
    if format == "torch":
        notes.append("users.parquet and items.parquet have the raw ids of rows, and the items that each user has "
                     "(`seen`), to be left out of recommendations")  # fmt: skip
    return notes


@torch.no_grad()
def _write_program(trained: TrainedCTR | TrainedRecommender, format: Format, folder: Path) -> dict:
    """Write the model and its files, and check it against the run's own model; returns what export.json says of it."""
    form = trained.model.exportable().eval()
    inputs = inputs_of(trained, form)
    examples, expected = [i.example for i in inputs], native_answer(trained, inputs)
    name = "scores" if expected.dim() == 2 else "probability" if trained.model.task == "clicks" else "number"
    about = {"inputs": [i.as_dict() for i in inputs], "output": {"name": name, "shape": ["batch", *expected.shape[1:]]}}
    program = programs.program_of(form, inputs)
    if format == "onnx":
        file = folder / "model.onnx"
        told = {"model": type(trained.model).__name__, "task": trained.model.task, "encoding": "encoding.json"}
        about |= programs.write_onnx(program, inputs, name, told, file)
        answer = programs.run_onnx(file, examples, [i.name for i in inputs])
        (folder / "score.py").write_text(standalone("recgnn.serving.exporting.score"), encoding="utf-8")
    else:
        answer = programs.write_torch(program, folder / "model.pt2")(*examples)
    if isinstance(trained, TrainedCTR):
        write_encoding(trained, folder, programs.known_answer(inputs, expected) if format == "onnx" else {})
        if format == "onnx":
            write_histories(trained, folder)
    else:
        embeddings.write_ids(trained, folder)
    difference = float((answer - expected).abs().max())
    if not difference <= BAR:
        raise RunError(f"{trained.run}: the export differs from the model by {difference:.2g}, expected at most {BAR}; "
                       "nothing is written; please report this")  # fmt: skip
    return about | {"largest_difference": difference}


def _working(what: str) -> AbstractContextManager:
    """A sign of life on a terminal."""
    if not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status(what)
