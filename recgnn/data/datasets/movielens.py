"""MovieLens: ratings of films, with a table of users and one of films."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from recgnn.data.datasets.base import Layout, PublicLog, say
from recgnn.data.datasets.tables import PublicTable, TableFile
from recgnn.data.interactions.log import ITEM, POSITION, RATING, TIMESTAMP, TITLE, USER, InteractionLog
from recgnn.data.interactions.sources import AtomicLog
from recgnn.data.readers.tables import read_table
from recgnn.errors import DataError

_RATINGS = [USER, ITEM, RATING, TIMESTAMP]
_GENRES = (
    "unknown Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy "
    "Film-Noir Horror Musical Mystery Romance Sci-Fi Thriller War Western"
).split()


class MovieLens100K(PublicLog):
    """MovieLens 100K: 100,000 ratings of 1,682 films by 943 users, with times and a table of each.

    Harper and Konstan, The MovieLens Datasets, 2015, https://doi.org/10.1145/2827872. For research; not to be passed
    on. The column `release_year` of the films is that of the title, `Toy Story (1995)`, or else of the release date.

    Args:
        root: A folder with `u.data` (`u.user`, `u.item`), `ml-100k.zip`, RecBole's `ml-100k.inter`, or
            `ratings.parquet`; None: downloaded once, from GroupLens, or else out of the package RecBole with pip.
        cache_dir: Folder of the downloads; $RECGNN_CACHE or ~/.cache/recgnn when None.
    """

    name = "ml-100k"
    counts = {"users": 943, "items": 1_682, "interactions": 100_000}
    urls = ("https://files.grouplens.org/datasets/movielens/ml-100k.zip",)
    _wheel = ("recbole==1.2.1", "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407")
    _atomic = tuple(f"ml-100k.{kind}" for kind in ("inter", "user", "item"))

    def layouts(self) -> list[Layout]:
        return [
            (("ratings.parquet", "?users.parquet", "?items.parquet"), self._read_parquet),
            (("u.data", "?u.user", "?u.item"), self._read_original),
            ((self._atomic[0], "?" + self._atomic[1], "?" + self._atomic[2]), self._read_atomic),
        ]

    def _fetch(self, folder: Path) -> None:
        try:
            super()._fetch(folder)
        except DataError as error:
            from recgnn.data.datasets.wheel import from_wheel

            package = self._wheel[0]
            say(f"{self.name}: the owner's site fails; taking it out of {package} with pip ...")
            members = {f"recbole/dataset_example/ml-100k/{name}": name for name in self._atomic}
            try:
                from_wheel(*self._wheel, members, folder)
            except DataError as second:
                first = str(error).removesuffix(f"; {self._by_hand()}")
                raise DataError(f"{first}; {second}; {self._by_hand()}") from second

    def read(self) -> InteractionLog:
        log = super().read()
        if log.items is None or TITLE not in log.items:
            return log
        year = log.items[TITLE].astype("string").str.extract(r"\(([0-9]{4})\)\s*$", expand=False)
        if "release_date" in log.items:
            year = year.fillna(log.items["release_date"].astype("string").str.extract("([0-9]{4})$", expand=False))
        return replace(log, items=log.items.assign(release_year=year))

    def _read_parquet(self, folder: Path) -> InteractionLog:
        return _from_parquet(folder, "items.parquet", self.name)

    def _read_original(self, folder: Path) -> InteractionLog:
        frame, origin = read_table(folder / "u.data", "\t", _RATINGS, (USER, ITEM))
        users = _table(folder / "u.user", "|", [USER, "age", "gender", "occupation", "zip"], USER)
        columns = [ITEM, TITLE, "release_date", "video_date", "imdb_url", *_GENRES]
        items = _table(folder / "u.item", "|", columns, ITEM)
        if items is not None:
            flags = items[_GENRES].to_numpy() == 1
            genres = ["|".join(np.array(_GENRES)[row]) for row in flags]
            items = items[[ITEM, TITLE, "release_date"]].assign(genres=genres)
        return InteractionLog(frame, users, items, self.name, origin)

    def _read_atomic(self, folder: Path) -> InteractionLog:
        log = AtomicLog(folder / self._atomic[0], name=self.name).read()
        users, items = log.users, log.items
        if users is not None:
            users = users.rename(columns={"zip_code": "zip"})
        if items is not None and {TITLE, "release_year", "class"} <= {*items.columns}:
            year = items["release_year"].astype("str")
            dated = year.str.fullmatch("[0-9]{4}")
            title = (items[TITLE] + " (" + year + ")").where(dated, items[TITLE])
            genres = items["class"].map(lambda words: "|".join(json.loads(words))).astype("str")
            items = items[[ITEM]].assign(title=title, release_year=items["release_year"], genres=genres)
        return InteractionLog(log.interactions, users, items, self.name)


class MovieLens1M(PublicLog):
    """MovieLens 1M: 1,000,209 ratings of 3,706 films by 6,040 users, with times and a table of each.

    Harper and Konstan, The MovieLens Datasets, 2015, https://doi.org/10.1145/2827872. For research; not to be passed
    on. A Parquet file in which some times are null is read without times; its column `pos`, the rank by time within
    the user, then serves `LeaveOneOut` and `RatioSplit(by="user")` in time order.

    Args:
        root: A folder with `ratings.dat` (`users.dat`, `movies.dat`), `ml-1m.zip`, or `ratings.parquet`; None:
            downloaded once, from GroupLens.
        cache_dir: Folder of the downloads; $RECGNN_CACHE or ~/.cache/recgnn when None.
    """

    name = "ml-1m"
    counts = {"users": 6_040, "items": 3_706, "interactions": 1_000_209}
    urls = ("https://files.grouplens.org/datasets/movielens/ml-1m.zip",)

    def layouts(self) -> list[Layout]:
        return [
            (("ratings.parquet", "?users.parquet", "?movies.parquet"), self._read_parquet),
            (("ratings.dat", "?users.dat", "?movies.dat"), self._read_original),
        ]

    def _read_parquet(self, folder: Path) -> InteractionLog:
        return _from_parquet(folder, "movies.parquet", self.name)

    def _read_original(self, folder: Path) -> InteractionLog:
        frame, origin = read_table(folder / "ratings.dat", "::", _RATINGS, (USER, ITEM), quotes=False)
        users = _table(folder / "users.dat", "::", [USER, "gender", "age", "occupation", "zip"], USER)
        items = _table(folder / "movies.dat", "::", [ITEM, TITLE, "genres"], ITEM)
        return InteractionLog(frame, users, items, self.name, origin)


_CSV = {USER: "userId", ITEM: "movieId", RATING: "rating", TIMESTAMP: "timestamp"}
_GROUPLENS = "https://files.grouplens.org/datasets/movielens"


class _MovieLensCSV(PublicTable):
    """MovieLens as `ratings.csv` and `movies.csv`."""

    log = (TableFile("ratings.csv", _CSV),)
    items = TableFile("movies.csv", {ITEM: "movieId"})
    title = "title"


class MovieLensSmall(_MovieLensCSV):
    """MovieLens latest small: about 100,000 ratings of 9,700 films by 610 users; it changes over time.

    Harper and Konstan, The MovieLens Datasets, 2015, https://doi.org/10.1145/2827872. For research.

    Args:
        root: A folder with `ratings.csv` (`movies.csv`), or `ml-latest-small.zip`; None: downloaded once.
        cache_dir: Folder of the downloads; $RECGNN_CACHE or ~/.cache/recgnn when None.
    """

    name = "ml-latest-small"
    urls = (f"{_GROUPLENS}/ml-latest-small.zip",)


class MovieLensTags(PublicTable):
    """The tags of MovieLens latest small: about 3,700, which 58 users gave to 1,600 films; it changes over time.

    Its users are pairs of a user and a film, `userId,movieId`, its items are the tags. Harper and Konstan, The
    MovieLens Datasets, 2015, https://doi.org/10.1145/2827872. For research.

    Args:
        root: A folder with `tags.csv` or `tags.parquet`, or `ml-latest-small.zip`; None: downloaded once.
        cache_dir: Folder of the downloads; $RECGNN_CACHE or ~/.cache/recgnn when None.
    """

    name = "ml-latest-small-tags"
    urls = (f"{_GROUPLENS}/ml-latest-small.zip",)
    inside = ("ml-latest-small",)
    log = tuple(
        TableFile(f"tags.{kind}", {USER: ["userId", "movieId"], ITEM: "tag", TIMESTAMP: "timestamp"})
        for kind in ("csv", "parquet")
    )


class MovieLens10M(PublicTable):
    """MovieLens 10M: 10,000,054 ratings of films, with times.

    Harper and Konstan, The MovieLens Datasets, 2015, https://doi.org/10.1145/2827872. For research.

    Args:
        root: A folder with `ratings.dat` (`movies.dat`), or `ml-10m.zip`; None: downloaded once.
        cache_dir: Folder of the downloads; $RECGNN_CACHE or ~/.cache/recgnn when None.
    """

    name = "ml-10m"
    counts = {"interactions": 10_000_054}
    urls = (f"{_GROUPLENS}/ml-10m.zip",)
    inside = ("ml-10M100K",)
    log = (TableFile("ratings.dat", {c: c for c in _RATINGS}, _RATINGS, "::", quotes=False),)
    items = TableFile("movies.dat", {ITEM: ITEM}, [ITEM, TITLE, "genres"], "::", quotes=False)


class MovieLens20M(_MovieLensCSV):
    """MovieLens 20M: 20,000,263 ratings of films by 138,493 users, with times.

    Harper and Konstan, The MovieLens Datasets, 2015, https://doi.org/10.1145/2827872. For research.

    Args:
        root: A folder with `ratings.csv` (`movies.csv`), or `ml-20m.zip`; None: downloaded once.
        cache_dir: Folder of the downloads; $RECGNN_CACHE or ~/.cache/recgnn when None.
    """

    name = "ml-20m"
    counts = {"interactions": 20_000_263}
    urls = (f"{_GROUPLENS}/ml-20m.zip",)


class MovieLens32M(_MovieLensCSV):
    """MovieLens 32M: 32,000,204 ratings of films by 200,948 users, with times.

    Harper and Konstan, The MovieLens Datasets, 2015, https://doi.org/10.1145/2827872. For research.

    Args:
        root: A folder with `ratings.csv` (`movies.csv`), or `ml-32m.zip`; None: downloaded once.
        cache_dir: Folder of the downloads; $RECGNN_CACHE or ~/.cache/recgnn when None.
    """

    name = "ml-32m"
    counts = {"interactions": 32_000_204}
    urls = (f"{_GROUPLENS}/ml-32m.zip",)


def _from_parquet(folder: Path, items: str, name: str) -> InteractionLog:
    frame, origin = read_table(folder / "ratings.parquet")
    if TIMESTAMP in frame and POSITION in frame and frame[TIMESTAMP].isna().any():
        frame = frame.drop(columns=TIMESTAMP)
    users, films = (
        read_table(path)[0] if path.is_file() else None for path in (folder / "users.parquet", folder / items)
    )
    return InteractionLog(frame, users, films, name, origin)


def _table(path: Path, separator: str, columns: list[str], key: str) -> pd.DataFrame | None:
    """Return a table of MovieLens, which is written in Latin-1 and without a header line."""
    if not path.is_file():
        return None
    return read_table(path, separator, columns, (key,), quotes=False, encoding="latin-1")[0]
