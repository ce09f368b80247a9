"""Plain forms as files: ONNX, and torch.export's programs."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

import recgnn
from recgnn.errors import ConfigError
from recgnn.serving.exporting.inputs import Input

OPSET = 18  # the lowest that torch writes without a conversion
LARGE = 2**30  # bytes of weights from which they lie in a file beside the graph; one file may hold 2^31


@contextmanager
def quiet() -> Iterator[None]:
    """Without the exporters' notes, which are for their authors."""
    names = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")
    levels = {name: logging.getLogger(name).level for name in names}
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def dynamic_shapes(inputs: list[Input]) -> tuple[dict[int, Dim], ...]:
    """The dimensions of the inputs that may have any size."""
    dims = {name: Dim(name) for i in inputs for name in i.dynamic.values()}
    return tuple({place: dims[name] for place, name in i.dynamic.items()} for i in inputs)


@torch.no_grad()
def program_of(form: nn.Module, inputs: list[Input]) -> ExportedProgram:
    """The form traced with the inputs' examples."""
    with quiet():
        return torch.export.export(form, tuple(i.example for i in inputs), dynamic_shapes=dynamic_shapes(inputs))


def write_torch(program: ExportedProgram, path: Path) -> nn.Module:
    """Writes the program; returns it as it is read back."""
    with quiet():
        torch.export.save(program, path)
        return torch.export.load(path).module()


def need_onnx() -> None:
    """Check that the packages are installed.

    Raises:
        ConfigError: names it.
    """
    for name in ("onnx", "onnxscript", "onnxruntime"):
        if find_spec(name) is None:
            raise ConfigError(f'--format onnx needs the package {name}: pip install "recgnn[export]"')


def write_onnx(program: ExportedProgram, inputs: list[Input], output: str, about: dict[str, str], path: Path) -> dict:
    """Writes the graph, with what it is `about`, and checks it; returns its opset and IR version."""
    import onnx

    with quiet():
        found = torch.onnx.export(
            program,
            input_names=[i.name for i in inputs],
            output_names=[output],
            dynamic_shapes=dynamic_shapes(inputs),  # for their names
            opset_version=OPSET,
            verbose=False,
        )
    assert found is not None, "it is asked for"
    graph = found.model
    graph.producer_name, graph.producer_version = "recgnn", recgnn.__version__
    for value, own in zip(graph.graph.inputs, inputs, strict=True):
        value.doc_string = " x ".join(map(str, own.shape))
    graph.metadata_props.update(about)
    size = sum(t.numel() * t.element_size() for t in program.state_dict.values())
    found.save(path, external_data=size > LARGE)
    onnx.checker.check_model(str(path), full_check=True)
    return {"opset": OPSET, "ir_version": graph.ir_version}


def known_answer(inputs: list[Input], expected: Tensor) -> dict:
    """What a consumer can check its onnxruntime by: made-up inputs and the model's own answer, as plain values."""
    import onnxruntime

    given = {i.name: {"type": i.as_dict()["type"], "values": i.example.tolist()} for i in inputs}
    return {"inputs": given, "answer": expected.tolist(), "onnxruntime": onnxruntime.__version__}


def run_onnx(path: Path, inputs: list[Tensor], names: list[str]) -> Tensor:
    """What onnxruntime makes of the inputs."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {name: x.numpy() for name, x in zip(names, inputs, strict=True)})
    return torch.from_numpy(found)
