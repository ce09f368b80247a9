"""Films, videos and news: Netflix, KuaiRec, KuaiRand, Tenrec, MIND; and Criteo's advertisements."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recgnn.data.cache import fingerprint
from recgnn.data.clicks.events import EventSource
from recgnn.data.datasets.base import Layout, PublicEvents, PublicLog
from recgnn.data.datasets.tables import PublicTable, TableFile
from recgnn.data.interactions.log import (
    ITEM,
    RATING,
    SPLIT,
    TIMESTAMP,
    TITLE,
    USER,
    WEIGHT,
    InteractionLog,
    clean_split,
)
from recgnn.data.readers.lines import numbered_lines
from recgnn.data.readers.origin import Origin
from recgnn.data.readers.tables import read_table
from recgnn.data.readers.times import Written
from recgnn.errors import DataError


class Netflix(PublicLog):
    """The Netflix prize: 100,480,507 ratings of 17,770 films by 480,189 users, with days.

    Bennett and Lanning, The Netflix Prize, 2007. It cannot be downloaded by itself.

    Args:
        root: A folder with `combined_data_1.txt` to `combined_data_4.txt` (any of them), and `movie_titles.csv`.
        cache_dir: Not used.
    """

    name = "netflix"

    def layouts(self) -> list[Layout]:
        others = tuple(f"?combined_data_{number}.txt" for number in (2, 3, 4))
        return [(("combined_data_1.txt", *others, "?movie_titles.csv"), self._read)]

    def _read(self, folder: Path) -> InteractionLog:
        files = [path for path in self.files() if path.name.startswith("combined_data")]
        log = pd.concat([_netflix(path) for path in files], ignore_index=True)
        titles = folder / "movie_titles.csv"
        items = None
        if titles.is_file():  # titles hold commas, and are not quoted
            rows = [text.split(",", 2) for _, text in numbered_lines(titles, "latin-1")]
            items = pd.DataFrame(rows, columns=[ITEM, "release_year", TITLE])
        return InteractionLog(log, items=items, name=self.name, origin=Origin(str(folder)))


def _netflix(path: Path) -> pd.DataFrame:
    """Read blocks of `film:` and lines `user,rating,day`.

    Raises:
        DataError: For the first line that is neither.
    """
    numbers, texts = zip(*numbered_lines(path), strict=True)
    lines = pa.array(texts)
    heads = pc.ends_with(lines, ":").to_numpy(zero_copy_only=False)
    parts = pc.split_pattern(lines.filter(pa.array(~heads)), ",")
    wrong = (pc.list_value_length(parts).to_numpy() != 3).nonzero()[0]
    if not heads[0] or len(wrong):
        row = int(np.flatnonzero(~heads)[wrong[0]]) if heads[0] else 0
        raise DataError(f"{path}, line {numbers[row]}: {texts[row]!r}; expected `film:` or `user,rating,day`")
    films = pc.utf8_rtrim(lines.filter(pa.array(heads)), ":").to_pandas().to_numpy()
    flat = parts.flatten().to_pandas().to_numpy().reshape(-1, 3)
    of = np.cumsum(heads)[~heads] - 1
    frame = pd.DataFrame({USER: flat[:, 0], ITEM: films[of], RATING: flat[:, 1], TIMESTAMP: flat[:, 2]})
    return frame.assign(**{name: pd.to_numeric(frame[name]) for name in (USER, ITEM, RATING)})


class KuaiRec(PublicTable):
    """KuaiRec: 12.5 million views of 10,728 videos by 7,176 users; the share that was watched is the rows' weight.

    Gao et al., 2022, https://arxiv.org/abs/2202.10842. It cannot be downloaded by itself. The times of some rows are
    empty: these are in train, and in no history. The column `watch_ratio` is context too, for a rule such as
    `positive: watch_ratio >= 2`.

    Args:
        root: A folder with `big_matrix.csv` or `small_matrix.csv` (`user_features.csv`, `item_categories.csv`).
        cache_dir: Not used.
    """

    name = "kuairec"
    inside = ("data", "KuaiRec 2.0/data", "KuaiRec/data")
    _chosen = {USER: "user_id", ITEM: "video_id"}
    log = (TableFile("big_matrix.csv", _chosen), TableFile("small_matrix.csv", _chosen))
    users = TableFile("user_features.csv", {USER: "user_id"})
    items = TableFile("item_categories.csv", {ITEM: "video_id"})
    written = Written(on_missing="keep")

    def built(self, folder, frame, origin, chosen) -> InteractionLog:
        """Build the log, whose weight is the share of a video that was watched (`chosen` is as in the base)."""
        more = {WEIGHT: "watch_weight"} if "watch_ratio" in frame else {}
        if more:
            frame = frame.assign(watch_weight=frame["watch_ratio"])
        if "timestamp" in frame and frame["timestamp"].notna().any():
            more[TIMESTAMP] = "timestamp"
        return super().built(folder, frame, origin, {**chosen, **more})


class KuaiRand(PublicEvents):
    """KuaiRand: which videos users clicked, liked or followed; the columns `is_click`, `is_like`, … are labels.

    Gao et al., 2022, https://arxiv.org/abs/2208.08696. It cannot be downloaded by itself.

    Args:
        root: A folder with `log_standard_4_08_to_4_21_1k.csv` and `log_standard_4_22_to_5_08_1k.csv`, or those of
            `pure` (`user_features_1k.csv`, `video_features_basic_1k.csv`).
        cache_dir: Not used.
    """

    name = "kuairand"
    inside = ("data",)

    def layouts(self) -> list[Layout]:
        found: list[Layout] = []
        for kind in ("1k", "pure"):
            logs = (f"log_standard_4_08_to_4_21_{kind}.csv", f"?log_standard_4_22_to_5_08_{kind}.csv")
            tables = (f"?user_features_{kind}.csv", f"?video_features_basic_{kind}.csv")
            found.append(((*logs, *tables), self._read))
        return found

    def _read(self, folder: Path) -> pd.DataFrame:
        files: dict[bool, list[pd.DataFrame]] = {True: [], False: []}
        for path in self.files():
            files[path.name.startswith("log_")].append(read_table(path)[0])
        frame = pd.concat(files[True], ignore_index=True)
        frame = frame.rename(columns={"user_id": USER, "video_id": ITEM, "time_ms": TIMESTAMP})
        for table in files[False]:
            key = USER if "user_id" in table else ITEM
            table = table.rename(columns={"user_id": USER, "video_id": ITEM})
            frame = frame.merge(table, on=key, how="left", validate="many_to_one", suffixes=("", f"_{key}"))
        return frame


class Tenrec(PublicEvents):
    """Tenrec: which articles or videos users clicked, liked, shared or followed; the column `click` is the label.

    Yuan et al., 2022, https://arxiv.org/abs/2210.10629. It cannot be downloaded by itself.

    Args:
        root: A folder with `ctr_data_1M.csv`.
        cache_dir: Not used.
    """

    name = "tenrec"

    def layouts(self) -> list[Layout]:
        return [(("ctr_data_1M.csv",), self._read)]

    def _read(self, folder: Path) -> pd.DataFrame:
        frame, _ = read_table(folder / "ctr_data_1M.csv", ids=("user_id", "item_id"))
        return frame.rename(columns={"user_id": USER, "item_id": ITEM})


class CriteoAttribution(PublicEvents):
    """Criteo's attribution data: 16.5 million impressions of advertisements, with clicks and conversions.

    Diemert et al., Attribution Modeling Increases Efficiency of Bidding in Display Advertising, 2017,
    https://arxiv.org/abs/1707.06409. It cannot be downloaded by itself. `click` is the label; what is only known after
    it (`conversion_timestamp`, `conversion_id`, `attribution`, `click_pos`, `click_nb`, `cost`, `cpo`) is left out.

    Args:
        root: A folder with `criteo_attribution_dataset.tsv.gz`.
        cache_dir: Not used.
    """

    name = "criteo-attribution"
    _later = ("conversion_timestamp", "conversion_id", "attribution", "click_pos", "click_nb", "cost", "cpo")

    def layouts(self) -> list[Layout]:
        return [((f"criteo_attribution_dataset.tsv{end}",), self._read) for end in (".gz", "")]

    def _read(self, folder: Path) -> pd.DataFrame:
        frame, _ = read_table(self.files()[0], "\t")
        frame = frame.drop(columns=[c for c in self._later if c in frame])
        return frame.rename(columns={"uid": USER, "campaign": ITEM})


class MIND(EventSource):
    """MIND: the news that users were shown together, with those they clicked (`clicked`) and what they had read before.

    Wu et al., 2020, https://doi.org/10.18653/v1/2020.acl-main.331. It cannot be downloaded by itself. Each impression
    is a `group` of its own (`group: impression`); `history` holds the news that were read before, for `Histories(
    item_fields=[item], columns={item: history})`.

    Args:
        train: A folder with `behaviors.tsv` (`news.tsv`), such as `MINDsmall_train`.
        val: Such a folder to validate on, `MINDsmall_dev`; or None.
        test: Such a folder to measure on; or None.
    """

    name = "mind"
    _columns = ("impression", USER, TIMESTAMP, "history", "shown")
    _news = (ITEM, "category", "subcategory", TITLE, "abstract", "url", "title_entities", "abstract_entities")

    def __init__(self, train: str | Path, val: str | Path | None = None, test: str | Path | None = None) -> None:
        folders = {"train": train, "val": val, "test": test}
        self.folders = {part: Path(path).expanduser() for part, path in folders.items() if path is not None}

    def events(self) -> pd.DataFrame:
        frames = [self._part(part, folder) for part, folder in self.folders.items()]
        joined = pd.concat(frames, ignore_index=True)
        return joined.assign(**{SPLIT: clean_split(joined[SPLIT], Origin("mind"))}) if SPLIT in joined else joined

    def _part(self, part: str, folder: Path) -> pd.DataFrame:
        frame, origin = read_table(folder / "behaviors.tsv", "\t", self._columns, (USER,), quotes=False)
        shown = frame["shown"].str.split()
        labels = shown.explode().str.extract(r"^(.+)-([01])$")
        wrong = labels[1].isna().to_numpy()
        if wrong.any():
            row = int(labels.index[int(wrong.argmax())])
            raise DataError(f"{origin.at(row, 'shown')}: expected news with labels, as N1-0 N2-1")
        found = frame.drop(columns="shown").loc[labels.index].reset_index(drop=True)
        found = found.assign(**{ITEM: labels[0].to_numpy(), "clicked": labels[1].astype(np.int64).to_numpy()})
        found["impression"] = f"{part}-" + found["impression"].astype("str")
        if (folder / "news.tsv").is_file():
            news, _ = read_table(folder / "news.tsv", "\t", self._news, (ITEM,), quotes=False)
            found = found.merge(news[[ITEM, "category", "subcategory"]], on=ITEM, how="left")
        return found.assign(**{SPLIT: part}) if len(self.folders) > 1 else found

    def fingerprint(self) -> str:
        files = [folder / name for folder in self.folders.values() for name in ("behaviors.tsv", "news.tsv")]
        return fingerprint(self, sorted(self.folders), [file for file in files if file.is_file()])
