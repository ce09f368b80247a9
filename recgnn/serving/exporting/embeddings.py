"""Users and items as vectors whose inner product is the score: Parquet, NumPy and, if asked for, a FAISS index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recgnn.data.interactions.log import ITEM, PARTS, TITLE, USER
from recgnn.data.interactions.vocabulary import Vocabulary
from recgnn.serving.recommender import TrainedRecommender


def write_embeddings(trained: TrainedRecommender, folder: Path, index: str | None) -> dict:
    """Write users.parquet, items.parquet, users.npy, items.npy and perhaps items.faiss; returns their sizes.

    Raises:
        ConfigError: for a model that has no representations.
    """
    dim = trained.model.embeddings()[0].shape[1]
    user, item = (x.detach().float().contiguous().numpy() for x in trained.model.score_vectors())
    write_ids(trained, folder, user, item)
    np.save(folder / "users.npy", user, allow_pickle=False)
    np.save(folder / "items.npy", item, allow_pickle=False)
    if index == "faiss":
        write_index(item, folder / "items.faiss")
    return {"users": len(user), "items": len(item), "dim": user.shape[1], "representation_dim": dim}


def write_ids(
    trained: TrainedRecommender, folder: Path, user: np.ndarray | None = None, item: np.ndarray | None = None
) -> None:
    """Write users.parquet (raw id, row, rows of the items that the user has) and items.parquet (raw id, row, title
    where known), with the vectors where they are given."""
    ptr, items = trained.seen_in(*PARTS)
    titles = trained.prepared.items.title(np.arange(len(trained.prepared.items)))
    users = _raw(USER, trained.prepared.users)
    users["seen"] = pa.ListArray.from_arrays(pa.array(ptr.numpy(), pa.int32()), pa.array(items.numpy(), pa.int32()))
    goods = _raw(ITEM, trained.prepared.items)
    if titles is not None:
        goods[TITLE] = pa.array(titles, pa.string())
    for name, columns, vectors in (("users", users, user), ("items", goods, item)):
        if vectors is not None:
            columns["vector"] = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
        pq.write_table(pa.table(columns), folder / f"{name}.parquet", compression="zstd")


def _raw(key: str, ids: Vocabulary) -> dict[str, pa.Array]:
    rows = np.arange(len(ids))
    return {key: pa.array(ids.decode(rows), pa.int64() if ids.is_integer else pa.string()), "row": pa.array(rows)}


def write_index(items: np.ndarray, file: Path) -> None:
    """A FAISS index of the exact inner product; number i is row i of the items, [I, D']."""
    import faiss

    index = faiss.IndexFlatIP(items.shape[1])
    index.add(np.ascontiguousarray(items, dtype=np.float32))
    faiss.write_index(index, str(file))
