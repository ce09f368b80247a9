"""The base class of CTR models: an event's logit, its loss, regularisation and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam, Optimizer

from recgnn.errors import ConfigError, one_of
from recgnn.evaluation.evaluations import ClickEvaluation, NumberEvaluation
from recgnn.models.base import MeasuredModel
from recgnn.nn.embedding import FieldEmbedding, FieldSum
from recgnn.nn.losses import half_square
from recgnn.nn.optimizers import LazyAdam, RowwiseAdagrad, Together

L2On = Literal["table", "batch"]
TableOptimizer = Literal["adam", "lazy_adam", "rowwise_adagrad"]


class CTRModel(MeasuredModel):
    r"""A model of the probability of a click, :math:`p = \sigma(\hat y(x))`. A subclass defines `forward`.

    An event is S features, rows of one table for all fields with values x: one for a categorical or a numeric field,
    several for a multi-valued one. The loss is the mean cross entropy, plus

    .. math:: \frac\lambda 2 \lVert E \rVert^2

    of the whole embedding table, or of the batch's rows (each counted once, per event of the batch).

    Args:
        field_dims: rows of each field, given by the data, [F].
        slots: the field of each feature of an event, given by the data, [S].
        lr: learning rate of Adam, the default optimizer.
        l2: lambda of the embeddings and of the linear weights.
        l2_on: the whole `table` in every step, or the rows of the `batch`.
        table_optimizer: what moves the tables: `adam`, every row in every step; or, at a cost that follows the batch
            and not the vocabulary, `lazy_adam` or `rowwise_adagrad`, the rows of the batch. Everything else is moved
            by Adam.
        table_lr: learning rate of the tables; `lr` when None.
        task: `ctr`, or `regression`: the label is a number, the loss the squared error, and the logit the answer.
    """

    def __init__(
        self,
        field_dims: Sequence[int],
        slots: Sequence[int] | None,
        lr: float,
        l2: float,
        l2_on: L2On,
        table_optimizer: TableOptimizer = "adam",
        table_lr: float | None = None,
        task: Literal["ctr", "regression"] = "ctr",
    ):
        one_of("task", task, ("ctr", "regression"))
        super().__init__(ClickEvaluation() if task == "ctr" else NumberEvaluation(), lr)
        self.task = task
        if l2 < 0 or l2_on not in ("table", "batch"):
            raise ConfigError(f"l2 must be 0 or more and l2_on table or batch, found {l2} and {l2_on}")
        one_of("table_optimizer", table_optimizer, TableOptimizer.__args__)
        self.field_dims, self.slots = list(field_dims), list(slots or range(len(field_dims)))
        self.num_fields, self.num_rows = len(self.field_dims), sum(self.field_dims)
        self.l2, self.l2_on = l2, l2_on
        self.table_optimizer, self.table_lr = table_optimizer, lr if table_lr is None else table_lr
        if table_optimizer != "adam" and l2 and l2_on == "table":
            raise ConfigError(
                f"l2_on: table takes a pass over every row in every step, which {table_optimizer} is there to avoid; "
                "set l2_on: batch (the rows of the batch), or l2: 0"
            )
        self.sum_fields = FieldSum(self.slots)
        self.bias = nn.Parameter(torch.zeros(()))

    def setup(self, stage: str) -> None:
        task = getattr(self.trainer.datamodule, "task", None)
        if task != self.task:
            raise ConfigError(
                f"the model's task is {self.task} and the data's {task}; set model.init_args.task and "
                "data.init_args.task to the same"
            )

    def table(
        self, dim: int, std: float = 1e-4, num_rows: int | None = None, sparse: bool | None = None
    ) -> FieldEmbedding:
        """A table of vectors, by default with a row for every value of every field; its gradient is sparse, by
        default, where `table_optimizer` wants it so."""
        sparse = self.table_optimizer != "adam" if sparse is None else sparse
        return FieldEmbedding(num_rows or self.num_rows, dim, std, sparse)

    def forward(self, ids: Tensor, values: Tensor | None = None) -> Tensor:
        """Logits of events: ids [B, S], values [B, S] or None (all 1); [B]."""
        raise NotImplementedError

    def logits(self, batch) -> Tensor:
        """Logits of a batch of the data: [B]."""
        return self(batch.ids, batch.values)

    def first_order(self, ids: Tensor, values: Tensor | None) -> Tensor:
        r""":math:`w_0 + \sum_i w_i x_i`, of the models that have a table `linear` of weights: [B]."""
        return self.bias + self.linear(ids, values).sum((1, 2))

    def tables(self) -> list[FieldEmbedding]:
        """All tables, which `table_optimizer` moves."""
        return [module for module in self.modules() if isinstance(module, FieldEmbedding)]

    def rows_of_batch(self, batch) -> list[tuple[FieldEmbedding, Tensor]]:
        """The tables that are regularised, each with its rows that the batch has, once each."""
        rows = present(batch.ids, batch.values)
        return [(table, rows) for table in self.tables()]

    def regularisation(self, batch) -> Tensor:
        """Half the squared norm of the tables, or of the batch's rows: a scalar."""
        if self.l2_on == "table":
            return sum(half_square(table.weight) for table in self.tables())
        return sum(table.half_square(rows) for table, rows in self.rows_of_batch(batch)) / batch.labels.numel()

    def training_step(self, batch, batch_idx: int) -> Tensor:
        error = F.binary_cross_entropy_with_logits if self.task == "ctr" else F.mse_loss
        loss = error(self.logits(batch).float(), batch.labels)
        if self.l2:
            loss = loss + self.l2 * self.regularisation(batch)
        self.log("train/loss", loss, on_step=True, on_epoch=True, batch_size=batch.labels.numel())
        return loss

    def configure_optimizers(self) -> Optimizer:
        if self.table_optimizer == "adam":
            return super().configure_optimizers()
        return self.optimizers_of([(self.tables(), self._of_tables)])

    def _of_tables(self, weights: list[nn.Parameter]) -> Optimizer:
        rule = LazyAdam if self.table_optimizer == "lazy_adam" else RowwiseAdagrad
        return rule(weights, lr=self.table_lr)

    def optimizers_of(self, own: Sequence[tuple[Sequence[FieldEmbedding], Callable[[list], Optimizer]]]) -> Optimizer:
        """One optimizer of several: for tables what is given with them, for all else Adam."""
        made, taken = [], set()
        for tables, rule in own:
            weights = [table.weight for table in tables]
            taken |= {id(weight) for weight in weights}
            made += [rule(weights)] if weights else []
        others = [parameter for parameter in self.parameters() if id(parameter) not in taken]
        clipped = self._trainer is not None and self.trainer.gradient_clip_val is not None
        return Together([Adam(others, lr=self.lr, fused=not clipped), *made])

    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None) -> None:
        """As Lightning's, which refuses sparse gradients."""
        moved = [parameter for parameter in self.parameters() if parameter.grad is not None]
        sparse = [parameter for parameter in moved if parameter.grad.is_sparse]
        if not gradient_clip_val or not sparse:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        for parameter in sparse:
            parameter.grad = parameter.grad.coalesce()
        gradients = [p.grad.values() if p.grad.is_sparse else p.grad for p in moved]
        if gradient_clip_algorithm == "value":
            for gradient in gradients:
                gradient.clamp_(-gradient_clip_val, gradient_clip_val)
            return
        norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
        for gradient in gradients:
            gradient.mul_((gradient_clip_val / (norm + 1e-6)).clamp(max=1.0))

    @torch.no_grad()
    def predict_events(self, ids: Tensor, values: Tensor | None, history=None) -> Tensor:
        """Probabilities of events, or their numbers: [B]."""
        found = (self(ids, values) if history is None else self(ids, values, history)).float()
        return torch.sigmoid(found) if self.task == "ctr" else found


def present(ids: Tensor, values: Tensor | None) -> Tensor:
    """The rows that stand in `ids` with a value other than 0, ascending and each once: like `ids`; [n]."""
    return (ids if values is None else ids[values != 0]).unique()
