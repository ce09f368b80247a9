"""Tables of a checkpoint that lie beside it, as several processes wrote them by torch.distributed.checkpoint.

The checkpoint says their folder, their sizes and the sha256 of each file; its own state dict lacks them. Reading puts
them together as one process would have written them. A folder may come from somebody else: its metadata, which
torch.distributed.checkpoint pickles, are unpickled with the few classes that such metadata have, and hold tensors only.
"""

from __future__ import annotations

import pickle
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch

from recgnn.data.stored import digest_of
from recgnn.errors import RunError, first_line
from recgnn.nn.sharded_table import Layout

KEY = "tables"  # of a checkpoint
OURS = {
    "torch.distributed.checkpoint.metadata": {
        "Metadata", "TensorStorageMetadata", "TensorProperties", "ChunkStorageMetadata", "MetadataIndex", "StorageMeta",
        "_MEM_FORMAT_ENCODING",
    },
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch": {"Size", "float32"},
    "torch.serialization": {"_get_layout"},
    "pathlib": {"PosixPath"},
}  # fmt: skip


class _Metadata(pickle.Unpickler):
    """Makes objects of the classes that metadata have, and of no others."""

    def find_class(self, module: str, name: str) -> Any:
        if name not in OURS.get(module, ()):
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return super().find_class(module, name)


def write(tables: dict[str, Any], file: Path, step: int) -> dict[str, Any]:
    """Write the tables of all processes beside a checkpoint; called by all of them.

    Args:
        tables: by name, each a `ShardedTable`.
        file: the checkpoint.
        step: which tells its folder from that of the checkpoint that is replaced.

    Returns:
        What the checkpoint shall say of them.
    """
    import torch.distributed.checkpoint as dcp

    folder = file.parent / f"{file.stem}.tables-{step}"
    rank = torch.distributed.get_rank()
    if rank == 0:
        shutil.rmtree(folder, ignore_errors=True)
    torch.distributed.barrier()
    state = {f"{name}/{part}": x for name, table in tables.items() for part, x in table.parts().items()}
    dcp.save(state, checkpoint_id=folder)
    mine = [path for path in sorted(folder.iterdir()) if path.name.startswith(f"__{rank}_")]
    mine += [folder / ".metadata"] if rank == 0 else []
    sums: list[dict[str, str]] = [{}] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(sums, {path.name: digest_of(path) for path in mine})
    files = {name: value for own in sums for name, value in own.items()}
    shapes = {name: [table.layout.rows, table.layout.dim] for name, table in tables.items()}
    return {"folder": folder.name, "files": files, "shapes": shapes}


def sweep(file: Path, kept: str) -> None:
    """Remove the tables of the checkpoints that this one replaced."""
    for folder in file.parent.glob(f"{file.stem}.tables-*"):
        if folder.name != kept:
            shutil.rmtree(folder, ignore_errors=True)


def completed(checkpoint: dict[str, Any], file: Path) -> dict[str, Any]:
    """Put the tables that lie beside a checkpoint into it, as one process would have written it.

    Raises:
        RunError: if they are missing or damaged, or hold anything but tensors.
    """
    about = checkpoint.pop(KEY, None)
    if about is None:
        return checkpoint
    folder = file.parent / Path(str(about.get("folder"))).name
    try:
        for name, wanted in about["files"].items():
            if digest_of(folder / Path(name).name) != wanted:
                raise ValueError(f"the checksum of {name} is wrong")
        found = _read(folder, {name: Layout(*map(int, shape)) for name, shape in about["shapes"].items()})
    except Exception as error:
        raise RunError(f"{folder}: the tables of {file.name} cannot be read ({first_line(error)})") from error
    for number, (name, (weight, sums)) in enumerate(found.items()):
        checkpoint["state_dict"][name] = weight
        if (states := checkpoint.get("optimizer_states")) and states[0]["state"]:
            groups = states[0]["param_groups"]
            states[0]["state"][groups[-1]["params"][number]] = {"sum": sums}
    return checkpoint


def _read(folder: Path, layouts: dict[str, Layout]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    import torch.distributed.checkpoint as dcp

    with open(folder / ".metadata", "rb") as stream:
        metadata = _Metadata(stream).load()
    if any("/" in own.relative_path or ".." in own.relative_path for own in metadata.storage_data.values()):
        raise ValueError("a file of another folder is named")

    class Reader(dcp.FileSystemReader):
        """Reads a folder whose metadata were unpickled by us."""

        def read_metadata(self, *args: Any, **kwargs: Any) -> Any:
            return metadata

    state = {}
    for name, layout in layouts.items():
        for part, shape in (("weight", layout.shape), ("sum", layout.shape[: 2 if layout.packed > 1 else 1])):
            size = metadata.state_dict_metadata[f"{name}/{part}"].size
            if torch.Size(shape).numel() != size.numel():
                raise ValueError(f"{name} has the shape {list(size)}, expected {list(shape)}")
            state[f"{name}/{part}"] = torch.empty(size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is one process which reads
        dcp.load(state, storage_reader=Reader(folder), no_dist=True)
    return {n: (own.unfold(state[f"{n}/weight"]), own.unfold_sums(state[f"{n}/sum"])) for n, own in layouts.items()}
