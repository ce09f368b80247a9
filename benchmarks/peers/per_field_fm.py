"""Trains a factorization machine written as the packages write theirs and prints what it took, as JSON.

    python benchmarks/peers/per_field_fm.py --train train.parquet --test test.parquet

It is no package: one nn.Embedding of each field for the vectors and one for the weights, a number times a vector, dense
Adam with its defaults, and a DataLoader over a TensorDataset that collates single rows.
"""

from __future__ import annotations

import harness
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


class PerFieldFM(nn.Module):
    """y = w_0 + sum_i w_i x_i + sum_{i<j} <v_i, v_j> x_i x_j, in O(nk), with a table for each field."""

    def __init__(self, counts: list[int], numbers: int, dim: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))
        self.weights = nn.ModuleList(nn.Embedding(count, 1) for count in counts)
        self.vectors = nn.ModuleList(nn.Embedding(count, dim) for count in counts)
        for table in [*self.weights, *self.vectors]:
            nn.init.normal_(table.weight, std=1e-2)
        self.number_weights = nn.Parameter(torch.randn(numbers) * 1e-2)
        self.number_vectors = nn.Parameter(torch.randn(numbers, dim) * 1e-2)

    def forward(self, ids: Tensor, values: Tensor) -> Tensor:
        weights = torch.cat([table(ids[:, i]) for i, table in enumerate(self.weights)], 1)  # [B, 26]
        vectors = torch.stack([table(ids[:, i]) for i, table in enumerate(self.vectors)], 1)  # [B, 26, k]
        vectors = torch.cat([vectors, values.unsqueeze(2) * self.number_vectors], 1)  # [B, 39, k]
        pairs = (vectors.sum(1).square() - vectors.square().sum(1)).sum(1) / 2
        return self.bias + weights.sum(1) + values @ self.number_weights + pairs


def main() -> None:
    options = harness.parse(__doc__.splitlines()[0], ["fm"])
    train, test = harness.read(options)
    counts = harness.encode(train, test)
    parts = []
    for part in (train, test):
        ids = torch.from_numpy(part[harness.CATEGORIES].to_numpy(np.int64))
        values = torch.from_numpy(part[harness.NUMBERS].to_numpy(np.float32))
        parts.append(TensorDataset(ids, values, torch.from_numpy(part["label"].to_numpy(np.float32))))
    batches = DataLoader(parts[0], batch_size=options.batch, shuffle=True, num_workers=0)
    test_batches = DataLoader(parts[1], batch_size=options.batch, num_workers=0)
    model = PerFieldFM(counts, len(harness.NUMBERS), options.dim)
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr)
    loss = nn.BCEWithLogitsLoss()
    training, prediction = harness.Span(), harness.Span()
    with training:
        for _ in range(options.epochs):
            for ids, values, labels in batches:
                optimizer.zero_grad()
                loss(model(ids, values), labels).backward()
                optimizer.step()
    with prediction, torch.no_grad():
        scores = torch.cat([model(ids, values) for ids, values, _ in test_batches]).sigmoid().numpy()
    labels = test["label"].to_numpy()
    harness.report("per-field torch", options, len(train), training, prediction, labels, scores, sum(counts))


if __name__ == "__main__":
    main()
