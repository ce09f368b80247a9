"""A table whose rows lie on several processes, by TorchRec: look-ups and the optimizer that is fused into them."""

from __future__ import annotations

import warnings
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from recgnn.errors import ConfigError, first_line, one_of

INSTALL = (
    "pip install 'recgnn[torchrec]' and pip install --no-deps torchrec==1.8.0 (with fbgemm-gpu in place of "
    "fbgemm-gpu-cpu where there are GPUs)"
)
PLACES = ("row_wise", "table_wise")
WIDTH = 4  # TorchRec's tables have a multiple of so many columns
NAME, FEATURE = "rows", "ids"


def torchrec_modules() -> Any:
    """Import TorchRec.

    Raises:
        ConfigError: if it is missing, or does not pair with torch.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torchrec
            from torchrec.distributed import embedding, sharding_plan, types  # noqa: F401
    except Exception as error:  # a wheel for another torch fails in many ways
        try:
            found = f"torchrec {version('torchrec')} does not pair with torch {torch.__version__} ({first_line(error)})"
        except PackageNotFoundError:
            found = "torchrec is not installed"
        raise ConfigError(f"--trainer.strategy torchrec: {found}; {INSTALL}") from error
    return torchrec


class Layout(NamedTuple):
    """How a table of `rows` x `dim` lies in TorchRec's, whose width is a multiple of 4: columns of zeros are added; of
    a table with one column, four rows lie side by side.

    Of Adagrad with one sum of squares a row, zeros lower the mean over the columns by dim / width: rate and eps times
    the root of that give the same steps.
    """

    rows: int
    dim: int

    @property
    def packed(self) -> int:
        """Rows that lie side by side."""
        return WIDTH if self.dim == 1 else 1

    @property
    def width(self) -> int:
        """Columns."""
        return -(-self.dim // WIDTH) * WIDTH

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return -(-self.rows // self.packed), self.width

    @property
    def share(self) -> float:
        """What the mean of squares is multiplied with."""
        return 1.0 if self.packed > 1 else self.dim / self.width

    def fold(self, weight: Tensor) -> Tensor:
        """Lay a table [rows, dim] out."""
        if self.packed > 1:
            return F.pad(weight.flatten(), (0, self.shape[0] * WIDTH - self.rows)).view(self.shape)
        return F.pad(weight, (0, self.width - self.dim))

    def unfold(self, x: Tensor) -> Tensor:
        """Undo `fold`."""
        return x.reshape(-1)[: self.rows, None] if self.packed > 1 else x[:, : self.dim]

    def fold_sums(self, sums: Tensor) -> Tensor:
        """Lay out what Adagrad keeps of each row, [rows]."""
        return self.fold(sums[:, None]) if self.packed > 1 else sums * self.share

    def unfold_sums(self, x: Tensor) -> Tensor:
        """Undo `fold_sums`."""
        return self.unfold(x)[:, 0] if self.packed > 1 else x.reshape(-1) / self.share


class ShardedTable:
    """The table of one `FieldEmbedding`, whose rows lie on all processes; called by all of them at once. It is no
    `nn.Module`, so that neither DDP nor an optimizer looks at it: it is moved by row-wise Adagrad in the backward pass,
    each row once, by the mean of all processes' gradients. So a training step looks up once.

    Args:
        weight: the whole table, [V, D].
        lr: learning rate.
        eps: of Adagrad.
        place: `row_wise`, rows divided over all processes; or `table_wise:<rank>`, all on one.
        device: of this process.
    """

    def __init__(self, weight: Tensor, lr: float, eps: float, place: str, device: torch.device):
        torchrec = torchrec_modules()
        from fbgemm_gpu.split_embedding_configs import EmbOptimType
        from torchrec.distributed.embedding import EmbeddingCollectionSharder
        from torchrec.distributed.sharding_plan import construct_module_sharding_plan, row_wise, table_wise
        from torchrec.distributed.types import ShardingEnv

        self.layout = layout = Layout(*weight.shape)
        self.lr = lr
        self.read: tuple[Tensor, Tensor] | None = None
        rows, width = layout.shape
        config = torchrec.EmbeddingConfig(
            name=NAME, embedding_dim=width, num_embeddings=rows, feature_names=[FEATURE]
        )
        rule = EmbOptimType.EXACT_ADAGRAD if layout.packed > 1 else EmbOptimType.EXACT_ROWWISE_ADAGRAD
        root = layout.share**0.5
        sharder = EmbeddingCollectionSharder({"optimizer": rule, "learning_rate": lr * root, "eps": eps * root})
        kind, _, rank = place.partition(":")
        one_of("plan", kind, PLACES)
        made = row_wise(compute_kernel="fused") if kind == "row_wise" else table_wise(int(rank or 0), None, "fused")
        world = torch.distributed.group.WORLD
        size = torch.distributed.get_world_size()
        collection = torchrec.EmbeddingCollection(tables=[config], device=torch.device("meta"))
        plan = construct_module_sharding_plan(
            collection, {NAME: made}, sharder, local_size=size, world_size=size, device_type=device.type
        )
        self.module = sharder.shard(collection, plan, ShardingEnv.from_process_group(world), device)
        self.keyed = torchrec.KeyedJaggedTensor
        self.put(weight, None)

    def __call__(self, ids: Tensor) -> Tensor:
        """Look up ids of any shape: [..., D]."""
        flat = ids.reshape(-1).long()
        lengths = torch.tensor([flat.numel()], device=flat.device)
        keyed = self.keyed(keys=[FEATURE], values=flat // self.layout.packed, lengths=lengths)
        vectors = self.module(keyed)[FEATURE].values()
        if self.layout.packed > 1:
            vectors = vectors.gather(1, (flat % WIDTH)[:, None])
        else:
            vectors = vectors[:, : self.layout.dim]
        self.read = flat, vectors
        return vectors.view(*ids.shape, self.layout.dim)

    def again(self, rows: Tensor) -> Tensor:
        """Return the vectors of distinct rows [n] that the last look-up read, without another: [n, D]."""
        assert self.read is not None
        flat, vectors = self.read
        ids, order = flat.sort()
        return vectors[order[torch.searchsorted(ids, rows.long())]]

    def set_lr(self, lr: float) -> None:
        """Take another learning rate."""
        if lr != self.lr:
            self.lr = lr
            for group in self.module.fused_optimizer.param_groups:
                group["lr"] = lr * self.layout.share**0.5
            self.module.fused_optimizer.step()  # hands it on

    # ---- state

    def parts(self) -> dict[str, Any]:
        """Return what all processes hold together, as sharded tensors: `weight` and `sum`."""
        name = f"embeddings.{NAME}.weight"
        (total,) = self.module.fused_optimizer.state_dict()["state"][name].values()
        return {"weight": self.module.state_dict()[name], "sum": total}

    def put(self, weight: Tensor, sums: Tensor | None) -> None:
        """Take a whole table [V, D], and what Adagrad keeps of its rows [V], or None to leave that as it is."""
        parts = self.parts()
        whole = {"weight": self.layout.fold(weight)} | ({} if sums is None else {"sum": self.layout.fold_sums(sums)})
        for name, value in whole.items():
            for shard in parts[name].local_shards():
                starts, sizes = shard.metadata.shard_offsets, shard.metadata.shard_sizes
                own = value[starts[0] : starts[0] + sizes[0]]
                shard.tensor.detach().copy_(own.view(shard.tensor.shape))
