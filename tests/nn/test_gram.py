"""The inverse in place, and Gram matrices in blocks, against dense ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from recgnn.nn import gram
from recgnn.nn.gram import available_memory, gram_blocks, invert_, product
from recgnn.nn.propagation import CSR, dense_rows


def matrix(seed: int, rows: int, columns: int) -> tuple[CSR, torch.Tensor]:
    dense = torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    dense[dense < 0.6] = 0
    sparse = dense.to_sparse_csr()
    return CSR(sparse.crow_indices(), sparse.col_indices(), sparse.values(), columns), dense


@pytest.mark.parametrize("block", [1, 4, 7, 30])
def test_the_inverse(block: int) -> None:
    x = torch.randn(30, 21, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    a = x.T @ x + 0.1 * torch.eye(21).double()
    expected = torch.linalg.inv(a)
    found = invert_(a, block)
    assert found is a
    assert_close(found, expected)
    assert torch.equal(found, found.T)


def test_gram_matrices_and_products(monkeypatch) -> None:
    monkeypatch.setattr(gram, "ITEMS", 3)
    csr, dense = matrix(1, 9, 7)
    blocks = list(gram_blocks(csr))
    assert [items.tolist() for items, _ in blocks] == [[0, 1, 2], [3, 4, 5], [6]]
    assert_close(torch.cat([block for _, block in blocks]), dense.T @ dense)
    other = matrix(2, 7, 5)[1]
    assert_close(product(csr, other.to_sparse_coo()), dense @ other)
    assert_close(dense_rows(csr), dense)


def test_memory_is_that_of_the_container_where_it_is_less(monkeypatch) -> None:
    files = {"/proc/meminfo": "MemTotal: 9 kB\nMemAvailable:   1000 kB\n",
             "/sys/fs/cgroup/memory.max": "500000\n", "/sys/fs/cgroup/memory.current": "100000",
             "/sys/fs/cgroup/memory.stat": "anon 90000\ninactive_file 6000\nactive_file 4000\n"}  # fmt: skip

    def read_text(path: Path) -> str:
        if str(path) not in files:
            raise FileNotFoundError(path)
        return files[str(path)]

    monkeypatch.setattr(Path, "read_text", read_text)
    assert available_memory() == 406_000, "pages of files that nobody reads are free"
    del files["/sys/fs/cgroup/memory.stat"]
    assert available_memory() == 400_000
    files["/sys/fs/cgroup/memory.max"] = "max"
    assert available_memory() == 1_024_000
