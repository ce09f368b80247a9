"""The prepared data of the benchmarks of sequence models (DIN, BST), which recgnn and its peers read alike.

    python benchmarks/sequence_data.py beauty --root <folder of the data sets> --folder <folder of what is prepared>

- `beauty`: Amazon Beauty; of each user the last action is test and the one before it validation, with one sampled
  negative for each action, drawn once with a seed. Past items show their attributes.
- `ml-1m`: MovieLens 1M, label rating >= 4, each user's ratings 8:1:1 in the order of time, up to 50 past liked films.
- `ml-100k`: MovieLens-100K in the same way.
- `uneven`: as `ml-1m`, of the users of the first `rows` ratings, up to 100 past films, of whatever number there is.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from recgnn.data import (  # noqa: E402
    AmazonBeauty,
    CTRDataModule,
    Field,
    FrameLog,
    Histories,
    LeaveOneOut,
    MovieLens1M,
    MovieLens100K,
    PreparedEvents,
    RatioSplit,
    Source,
)

NAMES = ("beauty", "ml-1m", "ml-100k", "uneven")
ROWS = 100_000


def prepare(name: str, root: str | Path, folder: str | Path, rows: int = ROWS) -> Path:
    """Makes a data set, or takes it from recgnn's cache, and writes it.

    Args:
        name: one of those above.
        root: A folder with the data set's files, or with a folder of its name (`amazon-beauty`, `ml-1m`).
        folder: Where a folder of this name is written.
        rows: `uneven`: of the log, from its first, with all others of the same users.

    Returns:
        The folder of the prepared data, which `PreparedEvents.load` and `CTRDataModule(prepared=...)` read.
    """
    if name not in NAMES:
        raise ValueError(f"name is {name!r}, expected one of {', '.join(NAMES)}")
    if name == "beauty":
        data = CTRDataModule(
            AmazonBeauty(root),
            fields={"user": "categorical", "item": "categorical", "attributes": Field("multi", max_values=6)},
            split=LeaveOneOut(order="time"),
            negatives=1,
            history=Histories(item_fields=["item", "attributes"], max_length=50),
        )
    else:
        sources = {"ml-1m": MovieLens1M, "ml-100k": MovieLens100K}
        films = {"item": "categorical", "genres": Field("multi", max_values=6)}
        data = CTRDataModule(
            sources[name](root) if name in sources else first_users(root, rows),
            label="rating >= 4",
            fields=dict.fromkeys(("user", "age", "gender", "occupation", "zip"), "categorical") | films,
            split=RatioSplit((0.8, 0.1, 0.1), by="user", order="time"),
            history=Histories(item_fields=[*films], max_length=50 if name in sources else 100),
        )
    path = Path(folder) / name
    data.prepared.save(path)
    return path


def first_users(root: str | Path, rows: int) -> Source:
    """MovieLens 1M, of the users that its first rows are of."""
    log = MovieLens1M(root).read()
    frame = log.interactions
    frame = frame[frame["user"].isin(frame["user"].iloc[:rows].unique())]
    return FrameLog(frame, users=log.users, items=log.items, name="ml-1m-uneven")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", choices=NAMES)
    parser.add_argument("--root", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--folder", type=Path, required=True, help="where the prepared data are written")
    parser.add_argument("--rows", type=int, default=ROWS, help="of the log of `uneven`")
    options = parser.parse_args()
    for name in options.names:
        path = prepare(name, options.root, options.folder, options.rows)
        prepared = PreparedEvents.load(path)
        past = prepared.train.lengths
        print(f"{path}\n{prepared.describe()}")
        print(f"  past items of train: mean {past.mean():.1f}, none {(past == 0).mean():.1%}, at most {past.max()}")


if __name__ == "__main__":
    main()
