"""Propagation against dense matrices, per-node loops written from the papers, and PyG's own layers."""

from __future__ import annotations

from math import sqrt

import pytest
import torch
import torch_geometric.nn as pyg
from torch.testing import assert_close

from recgnn.nn.propagation import CSR, BipartiteOperator, GCNLayer, NGCFLayer, csr_matmul, scatter_rows, select_rows

U, M, D = 8, 6, 4  # user 3 and item 5 have no edge
N = U + M
NORMS = ["sym", "row", "sym_self_loops", "row_self_loops"]
LOOPS = [n for n in NORMS if n.endswith("self_loops")]
PAIRS = [(7, 0), (0, 0), (0, 2), (1, 1), (1, 0), (1, 4), (2, 3), (4, 2), (4, 0), (5, 4), (5, 3), (6, 0), (6, 1), (7, 4)]
EDGES = torch.tensor(PAIRS).T
USERS, ITEMS = torch.tensor([5, 3, 0, 5]), torch.tensor([4, 0, 5])  # any order, repeated, isolated


def dense_operator(norm: str, pairs=tuple(PAIRS), num_users: int = U, num_items: int = M) -> torch.Tensor:
    size = num_users + num_items
    adjacency = [[0.0] * size for _ in range(size)]
    for user, item in pairs:
        adjacency[user][num_users + item] = adjacency[num_users + item][user] = 1.0
    if norm.endswith("self_loops"):
        for node in range(size):
            adjacency[node][node] = 1.0
    degree = [sum(row) for row in adjacency]
    for a in range(size):
        for b in range(size):
            if adjacency[a][b]:
                adjacency[a][b] = 1 / sqrt(degree[a] * degree[b]) if norm.startswith("sym") else 1 / degree[a]
    return torch.tensor(adjacency)


def dense_half(half: CSR) -> torch.Tensor:
    out = torch.zeros(half.ptr.numel() - 1, half.num_cols)
    for row in range(out.shape[0]):
        for edge in range(int(half.ptr[row]), int(half.ptr[row + 1])):
            out[row, half.col[edge]] += half.weight[edge]
    return out


def features(seed: int = 0, dim: int = D) -> torch.Tensor:
    return torch.randn(N, dim, generator=torch.Generator().manual_seed(seed))


def operator(norm: str) -> BipartiteOperator:
    return BipartiteOperator(EDGES, U, M, norm)


# ---- the operator


@pytest.mark.parametrize("norm", NORMS)
def test_operator_equals_the_dense_matrix_in_every_form(norm: str) -> None:
    op, dense, x = operator(norm), dense_operator(norm), features()
    assert_close(op(x), dense @ x)
    assert_close(torch.cat(op((x[:U], x[U:]))), dense @ x)
    edge_index, weight = op.edges()
    assert edge_index.shape == (2, 2 * len(PAIRS) + (N if norm in LOOPS else 0))
    built = torch.zeros(N, N)
    for source, target, value in zip(*edge_index.tolist(), weight.tolist(), strict=True):
        built[target, source] += value
    assert_close(built, dense)
    assert_close(op.csr().to_dense(), dense)
    assert_close(op.csr() @ x, dense @ x)
    assert op.num_edges == len(PAIRS) and norm in repr(op)


@pytest.mark.parametrize("norm", NORMS)
def test_the_four_halves_are_two_matrices_and_their_transposes(norm: str) -> None:
    dense = dense_operator(norm)
    ui, ui_t, iu, iu_t = (dense_half(h) for h in operator(norm).halves())
    assert_close(ui, dense[:U, U:])
    assert_close(ui_t, dense[:U, U:].T)
    assert_close(iu, dense[U:, :U])
    assert_close(iu_t, dense[U:, :U].T)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("pair", [False, True])
def test_gradient_is_the_transposed_product(norm: str, pair: bool) -> None:
    op, dense, g = operator(norm), dense_operator(norm), features(1)
    x = features().requires_grad_()
    out = torch.cat(op((x[:U], x[U:]))) if pair else op(x)
    out.backward(g)
    assert_close(x.grad, dense.T @ g)


def test_row_norm_tells_a_matrix_from_its_transpose() -> None:
    dense = dense_operator("row")
    assert not torch.allclose(dense, dense.T), "else the gradient tests above prove nothing"


@pytest.mark.parametrize("norm", NORMS)
def test_rows_equal_the_full_product_at_these_rows(norm: str) -> None:
    op, dense = operator(norm), dense_operator(norm)
    x, y = features().requires_grad_(), features().requires_grad_()
    user, item = op.rows((x[:U], x[U:]), USERS, ITEMS)
    expected = dense @ y
    assert_close(user, expected[USERS])
    assert_close(item, expected[U + ITEMS])
    g = features(2)
    ((user * g[:4]).sum() + (item * g[4:7]).sum()).backward()
    ((expected[USERS] * g[:4]).sum() + (expected[U + ITEMS] * g[4:7]).sum()).backward()
    assert_close(x.grad, y.grad)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("restricted", [False, True])
def test_dropped_edges_are_the_same_forward_and_backward(norm: str, restricted: bool) -> None:
    op, full = operator(norm), dense_operator(norm)
    torch.manual_seed(5)
    ui, ui_t, iu, iu_t = (dense_half(h) for h in op.halves(0.4))
    assert_close(ui_t, ui.T)
    assert_close(iu_t, iu.T)
    kept = ui != 0
    assert torch.equal(kept, iu.T != 0), "an edge is dropped in both directions"
    assert 0 < kept.sum() < len(PAIRS)
    assert_close(ui, full[:U, U:] * kept / 0.6)
    assert_close(iu, full[U:, :U] * kept.T / 0.6)

    dense = torch.diag(full.diagonal())
    dense[:U, U:], dense[U:, :U] = ui, iu
    x, y, g = features().requires_grad_(), features().requires_grad_(), features(1)
    torch.manual_seed(5)
    if restricted:
        out = torch.cat(op.rows((x[:U], x[U:]), USERS, ITEMS, 0.4))
        rows = torch.cat([USERS, U + ITEMS])
    else:
        out, rows = op(x, 0.4), torch.arange(N)
    assert_close(out, (dense @ y)[rows])
    out.backward(g[: rows.numel()])
    (dense @ y)[rows].backward(g[: rows.numel()])
    assert_close(x.grad, y.grad)


def test_dropping_edges_preserves_the_mean() -> None:
    op, x = operator("sym"), features()
    torch.manual_seed(0)
    mean = torch.stack([op(x, 0.3) for _ in range(4000)]).mean(0)
    assert_close(mean, dense_operator("sym") @ x, atol=0.06, rtol=0)


@pytest.mark.parametrize("norm", NORMS)
def test_graph_without_edges(norm: str) -> None:
    op = BipartiteOperator(torch.empty(2, 0, dtype=torch.long), 3, 2, norm)
    x = torch.randn(5, D, requires_grad=True)
    expected = x if norm in LOOPS else torch.zeros_like(x)
    assert_close(op(x), expected)
    assert_close(torch.cat(op.rows((x[:3], x[3:]), torch.tensor([2]), torch.tensor([0]))), expected[[2, 3]])


def test_operator_is_data_not_state() -> None:
    op = operator("sym_self_loops")
    assert op.state_dict() == {} and not list(op.parameters())
    assert op.double()(features().double()).dtype == torch.float64, "its tensors move with the model"


@pytest.mark.parametrize("norm", NORMS)
def test_larger_random_graph(norm: str) -> None:
    random = torch.Generator().manual_seed(3)
    pairs = (torch.rand(40, 30, generator=random) < 0.15).nonzero()
    pairs = pairs[torch.randperm(len(pairs), generator=random)]
    op = BipartiteOperator(pairs.T, 40, 30, norm)
    dense = dense_operator(norm, pairs.tolist(), 40, 30)
    x, y = torch.randn(70, 5, requires_grad=True), torch.randn(70, 5)
    out = op(x)
    assert_close(out, dense @ x)
    out.backward(y)
    assert_close(x.grad, dense.T @ y)


# ---- the kernels


def test_embedding_bag_path_equals_the_csr_path() -> None:
    for half in operator("row").halves():
        x = torch.randn(half.num_cols, D)
        shape = (half.ptr.numel() - 1, half.num_cols)
        matrix = torch.sparse_csr_tensor(half.ptr, half.col, half.weight, shape)
        assert_close(csr_matmul(half, x), matrix @ x)
        assert_close(csr_matmul(half, x.double()), (matrix.to_dense().double() @ x.double()))
        half_precision = csr_matmul(half, x.bfloat16())
        assert half_precision.dtype == torch.bfloat16
        assert_close(half_precision.float(), matrix @ x, atol=0.05, rtol=0.05)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: the CSR path cannot run")
@pytest.mark.parametrize("norm", NORMS)
def test_gpu_equals_dense(norm: str) -> None:
    op, dense, g = operator(norm).cuda(), dense_operator(norm), features(1)
    x, y = features().cuda().requires_grad_(), features().cuda().requires_grad_()
    op(x).backward(g.cuda())
    assert_close(op(x).cpu(), dense @ features())
    assert_close(x.grad.cpu(), dense.T @ g)
    rows = torch.cat(op.rows((y[:U], y[U:]), USERS.cuda(), ITEMS.cuda()))
    assert_close(rows.cpu(), (dense @ features())[torch.cat([USERS, U + ITEMS])])
    assert op(features().cuda().bfloat16()).isfinite().all()


def test_select_rows_and_scatter_rows() -> None:
    ui = operator("row").halves()[0]
    selected = select_rows(ui, USERS)
    assert_close(dense_half(selected), dense_half(ui)[USERS])
    nothing = select_rows(ui, torch.tensor([3, 3]))
    assert_close(csr_matmul(nothing, torch.randn(M, D)), torch.zeros(2, D))
    values, expected = torch.randn(4, D), torch.zeros(U, D)
    for value, row in zip(values, USERS.tolist(), strict=True):
        expected[row] += value
    assert_close(scatter_rows(values, USERS, U), expected)


# ---- the layers

BOTH_WAYS = torch.tensor([(u, U + i) for u, i in PAIRS] + [(U + i, u) for u, i in PAIRS]).T


def same_as(ours: torch.Tensor, theirs: torch.Tensor, x: torch.Tensor, pairs: list) -> None:
    """Two outputs, and their gradients: of x, and of the parameters (ours, theirs)."""
    assert_close(ours, theirs)
    g = features(9, ours.shape[1])
    mine = torch.autograd.grad((ours * g).sum(), [x, *(a for a, _ in pairs)])
    right = torch.autograd.grad((theirs * g).sum(), [x, *(b for _, b in pairs)])
    for a, b in zip(mine, right, strict=True):
        assert_close(a, b)


def test_the_operator_is_lightgcns_convolution() -> None:
    """Equation 3 by a loop over the edges, and PyG's."""
    x = features().requires_grad_()
    same_as(operator("sym")(x), pyg.LGConv()(x, BOTH_WAYS), x, [])
    degree = torch.bincount(BOTH_WAYS[0], minlength=N)
    expected = torch.zeros_like(x)
    for source, target in BOTH_WAYS.T.tolist():
        expected[target] += x[source].detach() / sqrt(degree[source] * degree[target])
    assert_close(operator("sym")(x.detach()), expected)


def test_gcn_layer_is_pygs() -> None:
    torch.manual_seed(0)
    ours, theirs, x = GCNLayer(D, 3), pyg.GCNConv(D, 3), features().requires_grad_()
    torch.nn.init.normal_(ours.linear.bias)
    theirs.lin.weight.data, theirs.bias.data = ours.linear.weight.data, ours.linear.bias.data
    parameters = [(ours.linear.weight, theirs.lin.weight), (ours.linear.bias, theirs.bias)]
    same_as(ours(operator("sym_self_loops")(x)), theirs(x, BOTH_WAYS), x, parameters)


def neighbours(node: int) -> list[int]:
    return [U + i for u, i in PAIRS if u == node] + [u for u, i in PAIRS if U + i == node]


def leaky(x: torch.Tensor, slope: float) -> torch.Tensor:
    return torch.where(x > 0, x, slope * x)


def test_ngcf_layer_is_equations_3_and_4() -> None:
    torch.manual_seed(0)
    layer, e = NGCFLayer(D, 3), features().requires_grad_()
    w1, w2 = layer.linear_sum.weight, layer.linear_product.weight
    assert layer.linear_sum.bias is None and layer.linear_product.bias is None
    expected = []
    for node in range(N):
        message = w1 @ e[node]  # m_{u<-u}
        for other in neighbours(node):
            p = 1 / sqrt(len(neighbours(node)) * len(neighbours(other)))
            message = message + p * (w1 @ e[other] + w2 @ (e[other] * e[node]))  # m_{u<-i}
        expected.append(leaky(message, 0.01))
    same_as(layer(operator("sym")(e), e), torch.stack(expected), e, [(w1, w1), (w2, w2)])


def test_ngcf_layer_of_the_authors() -> None:
    torch.manual_seed(0)
    layer, e = NGCFLayer(D, 3, "authors"), features().requires_grad_()
    w1, b1 = layer.linear_sum.weight, layer.linear_sum.bias
    w2, b2 = layer.linear_product.weight, layer.linear_product.bias
    assert b1.abs().sum() > 0 and b2.abs().sum() > 0
    expected = []
    for node in range(N):
        around = [node, *neighbours(node)]
        side = sum(e[other] for other in around) / len(around)
        expected.append(leaky(w1 @ side + b1, 0.2) + leaky(w2 @ (e[node] * side) + b2, 0.2))
    parameters = [(p, p) for p in layer.parameters()]
    same_as(layer(operator("row_self_loops")(e), e), torch.stack(expected), e, parameters)
