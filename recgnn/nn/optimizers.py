"""Optimizers whose cost follows the rows of the batch, not the vocabulary, and several optimizers as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from recgnn.errors import Checked, NonNegative, Positive, Share

AT_ONCE = 2**17  # numbers of a gradient that are taken at a time on CPU


class RowOptimizer(Checked, Optimizer):
    """An optimizer of tables that reads and writes the rows with a gradient only.

    A gradient is sparse and coalesced, as `FieldEmbedding(sparse=True)` gives it: each row once, with the sum over the
    batch. A subclass defines `update`. Other gradients count as ones of every row.

    Args:
        params: tables, or groups of them.
        defaults: options of the groups.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # type: ignore[override]  # of floats
        """Take a step: dense parameters [*] as they are, tables by the rows of the batch."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is None:
                    continue
                rows, gradient = rows_of(table.grad)
                if rows.numel():
                    self.update(table, rows, gradient, group, self.state[table])
        return loss

    def update(self, table: Tensor, rows: Tensor, gradient: Tensor, group: dict, state: dict) -> None:
        """Move the rows of a table: table [V, D], rows [n], gradient [n, D].

        `group` has the options (`lr` and so on), `state` what is kept between steps, empty before the first.
        """
        raise NotImplementedError


def rows_of(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct rows that have a gradient, and their gradients: [n], [n, D]."""
    if not gradient.is_sparse:
        return torch.arange(gradient.shape[0], device=gradient.device), gradient
    rows, values = gradient._indices()[0], gradient._values()
    if not (rows[1:] > rows[:-1]).all():  # autograd forgets that a gradient is coalesced
        gradient = gradient.coalesce()
        rows, values = gradient.indices()[0], gradient.values()
    return rows, values


class LazyAdam(RowOptimizer):
    r"""Adam on the rows of the batch; a row that is not in it keeps its moments (as `torch.optim.SparseAdam`).

    .. math:: m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
        w \leftarrow w - \mathrm{lr} \frac{\hat m}{\sqrt{\hat v} + \epsilon}

    with the bias corrections of the number of steps taken.

    Args:
        params: tables.
        lr: learning rate.
        betas: of the moments.
        eps: added to the root.
    """

    def __init__(
        self, params: Iterable, lr: Positive = 1e-3, betas: tuple[Share, Share] = (0.9, 0.999), eps: NonNegative = 1e-8
    ):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    def update(self, table: Tensor, rows: Tensor, gradient: Tensor, group: dict, state: dict) -> None:
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(table), torch.zeros_like(table)
        state["step"] += 1
        some = max(1, AT_ONCE // max(1, gradient[0].numel())) if table.device.type == "cpu" else len(rows)
        for own, of_own in zip(rows.split(some), gradient.split(some), strict=True):
            self.move(table, own, of_own, group, state)

    def move(self, table: Tensor, rows: Tensor, gradient: Tensor, group: dict, state: dict) -> None:
        """Move some of the `rows` [n] of a `table` by their `gradient` [n, D], as many as stay in a processor's cache.

        `group` and `state` are those of `update`.
        """
        first, second = group["betas"]
        step = float(state["step"])
        mean = state["exp_avg"].index_select(0, rows).lerp_(gradient, 1 - first)
        square = state["exp_avg_sq"].index_select(0, rows).lerp_(gradient.square(), 1 - second)
        state["exp_avg"].index_copy_(0, rows, mean)
        state["exp_avg_sq"].index_copy_(0, rows, square)
        rate = group["lr"] * (1 - second**step) ** 0.5 / (1 - first**step)
        root = square.sqrt_().add_(group["eps"] * (1 - second**step) ** 0.5)
        table.index_copy_(0, rows, table.index_select(0, rows).addcdiv_(mean, root, value=-rate))


class RowwiseAdagrad(RowOptimizer):
    r"""Adagrad with one sum of squares a row (`Duchi et al., 2011 <https://jmlr.org/papers/v12/duchi11a.html>`_; by
    row as `Naumov et al., 2019 <https://arxiv.org/abs/1906.00091>`_).

    .. math:: s \leftarrow s + \frac1D \sum_d g_d^2, \quad w \leftarrow w - \mathrm{lr} \frac{g}{\sqrt s + \epsilon}

    Args:
        params: tables.
        lr: learning rate.
        eps: added to the root.
    """

    def __init__(self, params: Iterable, lr: Positive = 1e-2, eps: NonNegative = 1e-8):
        super().__init__(params, {"lr": lr, "eps": eps})

    def update(self, table: Tensor, rows: Tensor, gradient: Tensor, group: dict, state: dict) -> None:
        if not state:
            state["sum"] = table.new_zeros(table.shape[0])
        total = state["sum"][rows].add_(gradient.square().mean(1))
        state["sum"].index_copy_(0, rows, total)
        root = total.sqrt_().add_(group["eps"])[:, None]
        table.index_copy_(0, rows, table[rows].addcdiv_(gradient, root, value=-group["lr"]))


class ProximalAdagrad(RowOptimizer):
    r"""Adagrad with an L1 penalty by its proximal step (`Duchi et al., 2011
    <https://jmlr.org/papers/v12/duchi11a.html>`_, section 5).

    .. math:: s \leftarrow s + g^2, \quad \eta = \frac{\mathrm{lr}}{\sqrt s + \epsilon}, \quad
        w \leftarrow \mathrm{sign}(w - \eta g) \max(0, |w - \eta g| - \eta \lambda_1)

    Args:
        params: tables.
        lr: learning rate.
        l1: lambda.
        eps: added to the root.
    """

    def __init__(self, params: Iterable, lr: Positive = 1e-2, l1: NonNegative = 0.0, eps: NonNegative = 1e-8):
        super().__init__(params, {"lr": lr, "l1": l1, "eps": eps})

    def update(self, table: Tensor, rows: Tensor, gradient: Tensor, group: dict, state: dict) -> None:
        if not state:
            state["sum"] = torch.zeros_like(table)
        total = state["sum"][rows].add_(gradient.square())
        state["sum"].index_copy_(0, rows, total)
        rate = group["lr"] / total.sqrt_().add_(group["eps"])
        moved = table[rows].sub_(rate * gradient)
        table.index_copy_(0, rows, moved.sign() * (moved.abs() - rate * group["l1"]).clamp(min=0))


class FTRL(RowOptimizer):
    r"""Follow the regularised leader, per coordinate (`McMahan et al., 2013
    <https://doi.org/10.1145/2487575.2488200>`_, algorithm 1).

    .. math:: \sigma = \frac{\sqrt{n + g^2} - \sqrt n}{\alpha}, \quad z \leftarrow z + g - \sigma w, \quad
        n \leftarrow n + g^2, \quad
        w \leftarrow \begin{cases} 0 & |z| \le \lambda_1 \\
        -\frac{z - \mathrm{sign}(z) \lambda_1}{(\beta + \sqrt n) / \alpha + \lambda_2} & \text{else} \end{cases}

    Args:
        params: tables.
        lr: alpha.
        l1: lambda 1.
        l2: lambda 2.
        beta: beta.
    """

    def __init__(
        self, params: Iterable, lr: Positive = 0.1, l1: NonNegative = 0.0, l2: NonNegative = 0.0,
        beta: NonNegative = 1.0,
    ):  # fmt: skip
        super().__init__(params, {"lr": lr, "l1": l1, "l2": l2, "beta": beta})

    def update(self, table: Tensor, rows: Tensor, gradient: Tensor, group: dict, state: dict) -> None:
        if not state:
            state["z"], state["n"] = torch.zeros_like(table), torch.zeros_like(table)
        alpha, l1 = group["lr"], group["l1"]
        before = state["n"][rows]
        after = before + gradient.square()
        sigma = (after.sqrt() - before.sqrt()) / alpha
        z = state["z"][rows] + gradient - sigma * table[rows]
        state["z"].index_copy_(0, rows, z)
        state["n"].index_copy_(0, rows, after)
        shrunk = z.sign() * (z.abs() - l1).clamp(min=0)
        table.index_copy_(0, rows, -shrunk / ((group["beta"] + after.sqrt()) / alpha + group["l2"]))


class Together(Optimizer):
    """Several optimizers, each of its own parameters, as one: one state, one step, the groups one after the other.

    Args:
        optimizers: which.
    """

    def __init__(self, optimizers: Sequence[Optimizer]):
        self.optimizers = list(optimizers)
        groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        super().__init__([dict(group) for group in groups], {})
        self.param_groups = groups
        self._share()

    def _share(self) -> None:
        """Give each optimizer its groups, and all of them the one state."""
        start = 0
        for optimizer in self.optimizers:
            count = len(optimizer.param_groups)
            optimizer.param_groups, optimizer.state = self.param_groups[start : start + count], self.state
            start += count

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)
        self._share()

    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # type: ignore[override]  # of floats
        """Take a step of each optimizer; returns the loss of `closure`, a scalar."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for optimizer in self.optimizers:
            optimizer.step()
        return loss
