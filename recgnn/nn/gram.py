"""Products of sparse matrices of interactions, and the inverse of a large dense one, in place."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from recgnn.nn.propagation import CSR

warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")  # by torch.sparse.mm, within
ITEMS = 1024  # rows and columns of a block


def as_coo(csr: CSR) -> Tensor:
    """Return a matrix in compressed rows, columns ascending, as torch's sparse tensor."""
    rows = csr.ptr.numel() - 1
    row = torch.repeat_interleave(torch.arange(rows, device=csr.ptr.device), csr.ptr.diff())
    places = torch.stack([row, csr.col])
    return torch.sparse_coo_tensor(places, csr.weight, (rows, csr.num_cols), is_coalesced=True, check_invariants=False)


def product(rows: CSR, matrix: Tensor) -> Tensor:
    """Multiply sparse rows [B, I] by a sparse tensor [I, J]; the cost follows the entries: dense, [B, J]."""
    return torch.sparse.mm(as_coo(rows._replace(weight=rows.weight.to(matrix.dtype))), matrix).to_dense()


def gram_blocks(rows: CSR) -> Iterator[tuple[Tensor, Tensor]]:
    """Compute the Gram matrix X^T X of a sparse matrix X [U, I] in blocks of its rows: (which rows [b], these rows [b,
    I], dense)."""
    matrix = as_coo(rows)
    by_item = matrix.t().coalesce()
    item, user = by_item.indices()
    ends = torch.bincount(item, minlength=rows.num_cols).cumsum(0).tolist()
    for start in range(0, rows.num_cols, ITEMS):
        stop = min(start + ITEMS, rows.num_cols)
        own = slice(ends[start - 1] if start else 0, ends[stop - 1])
        places = torch.stack([item[own] - start, user[own]])
        block = torch.sparse_coo_tensor(
            places, by_item.values()[own], (stop - start, matrix.shape[0]), is_coalesced=True, check_invariants=False
        )
        yield torch.arange(start, stop, device=item.device), torch.sparse.mm(block, matrix).to_dense()


def invert_(matrix: Tensor, block: int = ITEMS) -> Tensor:
    r"""Invert a symmetric positive definite matrix [n, n] in place, by the sweep operator on blocks of it (`Goodnight,
    1979 <https://doi.org/10.1080/00031305.1979.10482685>`_).

    For every block k of the diagonal, with :math:`D = A_{kk}^{-1}`:

    .. math:: A_{ij} \leftarrow A_{ij} - A_{ik} D A_{kj}, \quad A_{ik} \leftarrow A_{ik} D, \quad A_{kk} \leftarrow -D

    for all other blocks i and j, which leaves :math:`-A^{-1}`. The lower half alone is computed and read until the end,
    so that it costs n³ operations, as the inverse by Cholesky's factor does, and needs memory for a few columns more.

    Raises:
        torch.linalg.LinAlgError: if a block is not positive definite.
    """
    n = matrix.shape[0]
    blocks = [slice(start, min(start + block, n)) for start in range(0, n, block)]
    for k in blocks:
        pivot = torch.cholesky_inverse(torch.linalg.cholesky(matrix[k, k].double())).to(matrix.dtype)
        column = torch.cat([matrix[k, : k.start].T, matrix[k, k].mT, matrix[k.stop :, k]])  # A_ik, all i
        swept = column @ pivot
        for i in blocks:
            matrix[i, : i.stop].addmm_(column[i], swept[: i.stop].T, alpha=-1)
        matrix[k, : k.start], matrix[k.stop :, k], matrix[k, k] = swept[: k.start].T, swept[k.stop :], -pivot
    for i in blocks:
        matrix[i, : i.stop].neg_()
        matrix[i, i] = (matrix[i, i] + matrix[i, i].T) / 2
        matrix[: i.start, i] = matrix[i, : i.start].T
    return matrix


def available_memory() -> float:
    """Return the bytes of main memory that a process can still take, as far as the system tells; else infinity."""
    found = [float("inf")]
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(1024.0 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]))
    with suppress(OSError, ValueError):  # a container's limit
        limit, used = (int(Path(f"/sys/fs/cgroup/memory.{name}").read_text()) for name in ("max", "current"))
        found.append(float(limit - used))
        kept = dict(line.split() for line in Path("/sys/fs/cgroup/memory.stat").read_text().splitlines())
        found[-1] += int(kept.get("inactive_file", 0))  # pages of files, which the system drops where it must
    return min(found)
