"""Propagation on the user-item graph: the normalised operator and the layers of the graph models.

Node order everywhere: users first, then items, N = U + I. A pair `(x_user [U, D], x_item [I, D])` is the
same thing as `torch.cat` of the two, without the copy.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recgnn.files import large_array

Norm = Literal["sym", "row", "sym_self_loops", "row_self_loops"]
Pair = tuple[Tensor, Tensor]
Side = Literal["user", "item"]
ROWS = 2**16  # of a product that are computed at a time


class CSR(NamedTuple):
    """One half of the bipartite operator, [R, C], in compressed rows: ptr [R+1], col [E], weight [E]."""

    ptr: Tensor
    col: Tensor
    weight: Tensor
    num_cols: int


def csr_matmul(csr: CSR, x: Tensor) -> Tensor:
    """Compute A x for `csr` A [R, C] and x [C, D], by the fastest kernel of the device, without autograd: [R, D].

    On CPU `embedding_bag` (a fused gather, scale and sum) beats torch's CSR product; on a GPU cuSPARSE wins.
    """
    if (divided := getattr(csr, "matmul", None)) is not None:  # over processes: see recgnn.nn.partition
        return divided(x)
    x = x.detach()  # for a tensor that requires grad embedding_bag would prepare its own, slower backward
    if x.device.type == "cpu":
        weight = csr.weight if csr.weight.dtype == x.dtype else csr.weight.to(x.dtype)
        return F.embedding_bag(
            csr.col, x, csr.ptr, mode="sum", per_sample_weights=weight, include_last_offset=True
        )
    shape = (csr.ptr.numel() - 1, csr.num_cols)
    dtype = x.dtype if x.dtype == torch.float64 else torch.float32  # cuSPARSE has no half product in CSR
    matrix = torch.sparse_csr_tensor(
        csr.ptr, csr.col, csr.weight.to(dtype), shape, check_invariants=False
    )
    with torch.autocast(x.device.type, enabled=False):
        return (matrix @ x.to(dtype)).to(x.dtype)


def multiply_into(out: Tensor | None, csr: CSR, x: Tensor) -> Tensor:
    """Compute `csr_matmul` of A [R, C], `csr`, and x [C, D] some rows at a time in the place of `out` [R, D], so that
    nothing else of this size is held; in a new tensor where that is None or has few rows: [R, D]."""
    if out is None or len(out) <= ROWS or not isinstance(csr, CSR):
        return csr_matmul(csr, x)
    for start in range(0, len(out), ROWS):
        ptr = csr.ptr[start : start + ROWS + 1]
        some = slice(int(ptr[0]), int(ptr[-1]))
        block = CSR(ptr - ptr[0], csr.col[some], csr.weight[some], csr.num_cols)
        out[start : start + ROWS] = csr_matmul(block, x)
    return out


def select_rows(csr: CSR, rows: Tensor) -> CSR:
    """Select `rows` [n] of a matrix `csr` (any order, repeats allowed): a CSR of shape [n, C]."""
    if (divided := getattr(csr, "select", None)) is not None:
        return divided(rows)
    start = csr.ptr[rows]
    count = csr.ptr[rows + 1] - start
    ptr = F.pad(count.cumsum(0, dtype=count.dtype), (1, 0))
    edges = torch.arange(int(ptr[-1]), device=rows.device, dtype=ptr.dtype)
    edges += torch.repeat_interleave(start - ptr[:-1], count, output_size=edges.numel())
    return CSR(ptr, csr.col[edges], csr.weight[edges], csr.num_cols)


def large(count: int, device: torch.device, kind: torch.dtype = torch.float32) -> Tensor:
    """Make room for `count` numbers of a `kind` that are written once, on a `device`, if that is the CPU by
    `large_array`: [count]."""
    if device.type != "cpu":
        return torch.empty(count, dtype=kind, device=device)
    return torch.from_numpy(large_array(count, str(kind).removeprefix("torch.")))


def ascending(x: Tensor) -> Tensor:
    """Sort whole numbers `x` [n], on CPU in place and in a tenth of torch's time: [n]."""
    if x.device.type != "cpu":
        return x.sort().values
    x.numpy().sort()
    return x


def dense_rows(csr: CSR) -> Tensor:
    """Make a dense matrix of one in compressed rows (`csr`): [R, C]."""
    rows = csr.ptr.numel() - 1
    place = torch.repeat_interleave(torch.arange(rows, device=csr.ptr.device), csr.ptr.diff())
    dense = csr.weight.new_zeros(rows, csr.num_cols)
    dense[place, csr.col] = csr.weight
    return dense


class _Product(torch.autograd.Function):
    """A x with gradient A^T g, where both A and A^T are given: autograd never scatters."""

    @staticmethod
    def forward(ctx, x: Tensor, csr: CSR, transposed: CSR) -> Tensor:
        ctx.transposed = transposed
        return csr_matmul(csr, x)

    @staticmethod
    def backward(ctx, grad: Tensor):
        return csr_matmul(ctx.transposed, grad.contiguous()), None, None


def spmm(x: Tensor, csr: CSR, transposed: CSR) -> Tensor:
    """Compute A x for x [C, D] and `csr` A [R, C], whose gradient is a product with A's `transposed`: [R, D]."""
    return _Product.apply(x, csr, transposed)


class _RowsProduct(torch.autograd.Function):
    """A[rows] x, the few rows that a training step needs, with its exact gradient."""

    @staticmethod
    def forward(ctx, x: Tensor, rows: Tensor, csr: CSR, transposed: CSR) -> Tensor:
        ctx.transposed, ctx.num_rows = transposed, csr.ptr.numel() - 1
        ctx.save_for_backward(rows)
        if x.device.type == "cpu":
            return csr_matmul(select_rows(csr, rows), x)
        return csr_matmul(csr, x)[rows]  # on a GPU the full product is cheaper than a synchronisation

    @staticmethod
    def backward(ctx, grad: Tensor):
        (rows,) = ctx.saved_tensors
        return csr_matmul(ctx.transposed, scatter_rows(grad, rows, ctx.num_rows)), None, None, None


def scatter_rows(values: Tensor, rows: Tensor, num_rows: int) -> Tensor:
    """Sum `values` [n, D] into a zero matrix [num_rows, D] at `rows` [n]."""
    return values.new_zeros(num_rows, values.shape[1]).index_add_(0, rows, values)


class BipartiteOperator(nn.Module):
    r"""The normalised adjacency of the user-item graph, held as its two halves.

    .. math:: \hat A = \begin{pmatrix} S_u & R_{ui} \\ R_{iu} & S_i \end{pmatrix}

    with the self-loop diagonals :math:`S` absent for `sym` and `row`. Weights, with degree d (repeated
    edges are not merged: give unique ones):

    - `sym`: :math:`D^{-1/2} A D^{-1/2}` (LightGCN; NGCF's :math:`\mathcal L`)
    - `row`: :math:`D^{-1} A`
    - `sym_self_loops`: :math:`\tilde D^{-1/2} (A + I) \tilde D^{-1/2}` (GCN, Kipf & Welling, 2017)
    - `row_self_loops`: :math:`\tilde D^{-1} (A + I)` (the NGCF authors' code)

    An edge takes 8 bytes, its two ends; its weights follow from degrees, and take 8 more (16 for `row`) once `halves`
    was asked for. All tensors are non-persistent buffers: they move with the model and stay out of checkpoints.

    Args:
        edge_index: users and items of the interactions, [2, E], rows of each side counted from 0.
        num_users: U.
        num_items: I.
        norm: which normalisation.
    """

    user_degree: Tensor
    item_degree: Tensor
    user_ptr: Tensor
    item_ptr: Tensor
    user_col: Tensor
    item_col: Tensor
    item_to_user_order: Tensor | None
    user_weight: Tensor | None
    item_weight: Tensor | None
    user_weight_t: Tensor | None
    item_weight_t: Tensor | None
    user_self: Tensor | None
    item_self: Tensor | None

    def __init__(self, edge_index: Tensor, num_users: int, num_items: int, norm: Norm = "sym"):
        super().__init__()
        self.num_users, self.num_items, self.norm = num_users, num_items, norm
        self.loops = 1 if norm.endswith("self_loops") else 0
        small = max(num_users, num_items, edge_index.shape[1]) < 2**31
        kind = torch.int32 if small else torch.int64  # of both, as the kernels want it

        def put(name: str, value: Tensor | None = None) -> None:
            self.register_buffer(name, value, persistent=False)

        user, item = edge_index
        for side, row, col, num_rows, num_cols in (
            ("user", user, item, num_users, num_items), ("item", item, user, num_items, num_users)
        ):  # fmt: skip
            degree = torch.bincount(row, minlength=num_rows)
            put(f"{side}_degree", degree.to(kind))
            put(f"{side}_ptr", F.pad(degree.cumsum(0), (1, 0)).to(kind))
            key = torch.mul(row.long(), num_cols, out=large(row.numel(), row.device, torch.int64)).add_(col)
            place = ascending(key).remainder_(num_cols)
            put(f"{side}_col", large(row.numel(), row.device, kind).copy_(place))
            put(f"{side}_self", 1.0 / (degree + 1).float() if self.loops else None)
            put(f"{side}_weight")  # R_ui in user order, R_iu in item order
            put(f"{side}_weight_t")  # R_ui^T in item order, R_iu^T in user order
        put("item_to_user_order")  # place in user order of each edge in item order

    def weigh(self, side: Side, degree: Tensor, cols: Tensor, transposed: bool = False) -> Tensor:
        """Compute the weights of some entries of R_ui or R_iu (`side`: whose rows), or of its transpose, from the
        degrees of their rows there, `degree` [n], and their columns, `cols` [n]: [n]; `transposed`: the latter."""
        others = self.item_degree if side == "user" else self.user_degree
        of_row, of_col = (x.double() + self.loops for x in (degree, others.index_select(0, cols)))
        if self.norm.startswith("sym"):
            return of_row.mul_(of_col).rsqrt_().float()
        return (1.0 / (of_col if transposed else of_row)).float()

    @torch.inference_mode(False)
    def _all_weights(self, side: Side, transposed: bool = False) -> Tensor:
        """Compute the weights of all entries in the order of a side, some rows at a time."""
        degree, col = (self.user_degree, self.user_col) if side == "user" else (self.item_degree, self.item_col)
        found, start = large(col.numel(), col.device), 0
        for some in degree.split(2**14):
            each = torch.repeat_interleave(some, some)
            stop = start + each.numel()
            found[start:stop] = self.weigh(side, each, col[start:stop], transposed)
            start = stop
        return found

    @property
    def num_edges(self) -> int:
        """E, each edge counted once."""
        return self.user_col.numel()

    def halves(self, drop: float = 0.0) -> tuple[CSR, CSR, CSR, CSR]:
        """Return (R_ui, R_ui^T, R_iu, R_iu^T); with `drop` > 0 each edge is dropped at that rate, the same edges in all
        four, and the kept ones are scaled by 1 / (1 - drop)."""
        if self.user_weight is None:
            same = self.norm.startswith("sym")
            self.user_weight, self.item_weight = self._all_weights("user"), self._all_weights("item")
            self.user_weight_t = self.item_weight if same else self._all_weights("item", transposed=True)
            self.item_weight_t = self.user_weight if same else self._all_weights("user", transposed=True)
        weights: Any = (self.user_weight, self.user_weight_t, self.item_weight, self.item_weight_t)
        if drop > 0:
            if self.item_to_user_order is None:
                self.item_to_user_order = torch.argsort(self.user_col, stable=True)
            keep_u = F.dropout(torch.ones_like(self.user_weight), drop)
            keep_i = keep_u[self.item_to_user_order]
            weights = (weights[0] * keep_u, weights[1] * keep_i, weights[2] * keep_i, weights[3] * keep_u)
        by_user = (self.user_ptr, self.user_col)
        by_item = (self.item_ptr, self.item_col)
        return (
            CSR(*by_user, weights[0], self.num_items),
            CSR(*by_item, weights[1], self.num_users),
            CSR(*by_item, weights[2], self.num_users),
            CSR(*by_user, weights[3], self.num_items),
        )

    def forward(self, x: Tensor | Pair, drop: float = 0.0) -> Tensor | Pair:
        """Compute Â x for x [N, D] or the pair ([U, D], [I, D]); the result has the form of x. `drop` is the share of
        edges left out."""
        if isinstance(x, Tensor):
            x_user, x_item = x.split([self.num_users, self.num_items])
            return torch.cat(self.product((x_user, x_item), drop))
        return self.product(x, drop)

    def product(self, x: Pair, drop: float) -> Pair:
        """Compute Â x for a pair, [U, D] and [I, D]; `drop` as in `forward`."""
        x_user, x_item = x
        ui, ui_t, iu, iu_t = self.halves(drop)
        out_user, out_item = spmm(x_item, ui, ui_t), spmm(x_user, iu, iu_t)
        if self.user_self is not None and self.item_self is not None:
            out_user = out_user + self.user_self[:, None] * x_user
            out_item = out_item + self.item_self[:, None] * x_item
        return out_user, out_item

    def rows(self, x: Pair, users: Tensor, items: Tensor, drop: float = 0.0) -> Pair:
        """Compute the rows `users` [n] and `items` [m] of Â x, without the others (`drop` as in `forward`): ([n, D],
        [m, D])."""
        x_user, x_item = x
        ui, ui_t, iu, iu_t = self.halves(drop)
        out_user = _RowsProduct.apply(x_item, users, ui, ui_t)
        out_item = _RowsProduct.apply(x_user, items, iu, iu_t)
        if self.user_self is not None and self.item_self is not None:
            out_user = out_user + self.user_self[users, None] * x_user[users]
            out_item = out_item + self.item_self[items, None] * x_item[items]
        return out_user, out_item

    def edges(self) -> tuple[Tensor, Tensor]:
        """Return the same operator as PyG's edges: edge_index [2, 2E (+N)] (source, target) and weight."""
        ui, _, iu, _ = self.halves()
        degrees = self.user_degree, self.item_degree
        user, item = (torch.arange(len(d), device=d.device).repeat_interleave(d) for d in degrees)
        source = [ui.col.long() + self.num_users, iu.col.long()]
        target = [user, item + self.num_users]
        weight = [ui.weight, iu.weight]
        if self.user_self is not None and self.item_self is not None:
            nodes = torch.arange(self.num_users + self.num_items, device=user.device)
            source, target = [*source, nodes], [*target, nodes]
            weight = [*weight, self.user_self, self.item_self]
        return torch.stack([torch.cat(source), torch.cat(target)]), torch.cat(weight)

    def csr(self) -> Tensor:
        """Return the same operator as a torch sparse CSR tensor [N, N], row = target (PyG's `adj_t`)."""
        edge_index, weight = self.edges()
        size = self.num_users + self.num_items
        return torch.sparse_coo_tensor(
            edge_index.flip(0), weight, (size, size), check_invariants=False
        ).to_sparse_csr()

    def extra_repr(self) -> str:
        return f"{self.num_users} users, {self.num_items} items, {self.num_edges} edges, {self.norm}"


class GCNLayer(nn.Module):
    r"""The weights of the graph convolution of `Kipf & Welling, 2017 <https://arxiv.org/abs/1609.02907>`_, eq. 2,
    before its non-linearity.

    .. math:: X' = \hat A X W + b, \quad \hat A = \tilde D^{-1/2} (A + I) \tilde D^{-1/2}

    Args:
        in_dim: D.
        out_dim: D'.

    Shapes: the aggregated neighbourhood :math:`\hat A X`, [n, D]; [n, D'].
    """

    def __init__(self, in_dim: int, out_dim: int):
        super().__init__()
        self.in_dim, self.linear = in_dim, nn.Linear(in_dim, out_dim)
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, aggregated: Tensor) -> Tensor:
        return self.linear(aggregated)


class NGCFLayer(nn.Module):
    r"""The weights of NGCF's embedding propagation (`Wang et al., 2019 <https://arxiv.org/abs/1905.08108>`_, eq. 7).

    .. math:: E' = \mathrm{LeakyReLU}\left((\mathcal L + I) E W_1 + \mathcal L E \odot E W_2\right)

    which is eq. 3-4, the sum of the messages :math:`p_{ui}(W_1 e_i + W_2 (e_i \odot e_u))` and the self
    message :math:`W_1 e_u`, over all nodes at once. `variant="authors"` is what the published TensorFlow
    code computes: the self message is part of a row-normalised adjacency with self-loops, both terms have a
    bias, and each has an activation of its own (slope 0.2).

    Args:
        in_dim: D.
        out_dim: D'.
        variant: `paper` or `authors`.

    Shapes: the aggregated neighbourhood `side` [n, D] (normalised `sym` for the paper, `row_self_loops` for the
        authors) and the nodes themselves `x` [n, D]; [n, D'].
    """

    def __init__(self, in_dim: int, out_dim: int, variant: Literal["paper", "authors"] = "paper"):
        super().__init__()
        self.variant, self.in_dim = variant, in_dim
        bias = variant == "authors"
        self.linear_sum = nn.Linear(in_dim, out_dim, bias=bias)  # W_1
        self.linear_product = nn.Linear(in_dim, out_dim, bias=bias)  # W_2
        for linear in (self.linear_sum, self.linear_product):
            nn.init.xavier_uniform_(linear.weight)
            if linear.bias is not None:
                nn.init.xavier_uniform_(linear.bias[None])

    def forward(self, side: Tensor, x: Tensor) -> Tensor:
        if self.variant == "paper":
            return F.leaky_relu(self.linear_sum(side + x) + self.linear_product(side * x), 0.01)
        return F.leaky_relu(self.linear_sum(side), 0.2) + F.leaky_relu(self.linear_product(side * x), 0.2)
