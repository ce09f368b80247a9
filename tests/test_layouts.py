"""Every layout of docs/layouts.md: a small file of that layout is written, and read by what the page says."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from recgnn.cli.classes import class_named
from recgnn.data.datasets.base import PublicLog

PAGE = Path(__file__).parents[1] / "docs" / "layouts.md"
BLOCK = re.compile(r"### (.+?)\n.*?```yaml\n(.*?)```", re.S)
LAYOUTS = dict(BLOCK.findall(PAGE.read_text(encoding="utf-8")))
RANDOM = np.random.default_rng(0)
ROWS = pd.DataFrame(
    [
        (u, int(i), int(RANDOM.integers(1, 6)), 1_500_000_000 + 50_000 * n + 997 * u)
        for u in range(1, 31)
        for n, i in enumerate(RANDOM.permutation(40)[:10] + 100)
    ],
    columns=["user", "item", "rating", "timestamp"],
)
WORDS = [("pv", "cart", "buy", "buy")[k % 4] for k in range(len(ROWS))]
CLICKED = (ROWS.item % 2 ^ (RANDOM.random(len(ROWS)) < 0.2)).astype(int)
Writer = Callable[[], dict[str, Any]]
WRITERS: dict[str, Writer] = {}


def text(frame: pd.DataFrame, separator: str = ",", header: bool = True) -> str:
    head = [separator.join(map(str, frame.columns))] if header else []
    return "\n".join([*head, *(separator.join(map(str, row)) for row in frame.itertuples(index=False))]) + "\n"


def writes(title: str) -> Callable[[Writer], Writer]:
    def added(writer: Writer) -> Writer:
        WRITERS[title] = writer
        return writer

    return added


def simple(title: str, file: str, make: Callable[[], Any]) -> None:
    WRITERS[title] = lambda: {file: make()}


def moments(style: str) -> pd.DataFrame:
    return ROWS.assign(at=[datetime.fromtimestamp(t, UTC).strftime(style) for t in ROWS.timestamp]).drop(
        columns="timestamp"
    )


def lines(rows: list[dict]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


PAIRS = ROWS[["user", "item"]]
STARS = ROWS[["user", "item", "rating"]]
OBJECTS = [{"user": u, "item": i, "stars": float(r), "more": {"a": 1}} for u, i, r, _ in ROWS.itertuples(index=False)]
simple("Two columns", "log.csv", lambda: text(PAIRS))
simple("Columns of other names", "log.csv", lambda: text(PAIRS.set_axis(["visitor", "sku"], axis=1)))
TAGS = pd.DataFrame({"userId": ROWS.user, "movieId": ROWS.user + 70, "tag": ROWS.item})  # a film for each user
simple("Users of several columns", "tags.csv", lambda: text(TAGS))
simple("Tabs", "log.tsv", lambda: text(PAIRS, "\t"))
simple("Semicolons", "log.csv", lambda: text(STARS, ";"))
simple("Two colons, no header line", "log.dat", lambda: text(ROWS, "::", header=False))
simple("Pipes, no header line", "log.txt", lambda: text(STARS, "|", header=False))
simple("Blanks", "log.txt", lambda: text(STARS, " ", header=False))
simple("Gzipped", "log.csv.gz", lambda: gzip.compress(text(STARS).encode()))
simple("Parquet", "log.parquet", lambda: STARS)
WRITERS["Several files"] = lambda: {f"part-{k}.csv": text(STARS[k::2]) for k in range(2)}
WRITERS["Several Parquet files"] = lambda: {f"part-{k}.parquet": STARS[k::2] for k in range(2)}
simple("JSON lines", "log.jsonl", lambda: lines(OBJECTS))
simple("JSON lines, gzipped", "log.json.gz", lambda: gzip.compress(lines(OBJECTS).encode()))
simple("Latin-1", "log.csv", lambda: text(PAIRS.assign(item=[f"café {i}" for i in PAIRS.item])).encode("latin-1"))
simple("UTF-16", "log.txt", lambda: text(PAIRS.assign(item=[f"café {i}" for i in PAIRS.item]), "\t").encode("utf-16"))
simple(
    "Quotes that mean nothing", "log.tsv", lambda: text(PAIRS.assign(item=[f'{i}" vinyl' for i in PAIRS.item]), "\t")
)
simple(
    "Quoted fields with separators and line ends",
    "log.csv",
    lambda: text(PAIRS.assign(item=[f'"Pulp, {i}\nFiction"' for i in PAIRS.item])),
)
simple(
    "Ids of letters, zeros and any length",
    "log.csv",
    lambda: text(pd.DataFrame({"user": [f"{u:09d}" for u in ROWS.user], "item": [f"B{i}X" for i in ROWS.item]})),
)
simple("Ratings, of which the high ones count", "log.csv", lambda: text(STARS))
simple("Likes and dislikes", "log.csv", lambda: text(STARS.assign(rating=np.where(STARS.rating > 2, 1, -1))))
simple("Play counts", "log.csv", lambda: text(STARS.set_axis(["user", "artist", "plays"], axis=1)))
simple("Kinds of events", "log.csv", lambda: text(PAIRS.assign(behavior=WORDS)))
simple(
    "Buying again is the point", "log.csv", lambda: text(pd.concat([ROWS, ROWS.assign(timestamp=ROWS.timestamp + 7e5)]))
)
simple("Seconds", "log.csv", lambda: text(ROWS))
simple("Milliseconds", "log.csv", lambda: text(PAIRS.assign(time=ROWS.timestamp * 1000)))
simple("ISO 8601", "log.csv", lambda: text(moments("%Y-%m-%dT%H:%M:%SZ")))
simple("Days first", "log.csv", lambda: text(moments("%d/%m/%Y %H:%M")))
simple("Twelve hours", "log.csv", lambda: text(moments("%m/%d/%Y %I:%M:%S %p")))
simple("Days as one number", "log.csv", lambda: text(moments("%Y%m%d").rename(columns={"at": "day"})))
simple(
    "Some times are missing",
    "log.csv",
    lambda: text(ROWS.assign(timestamp=["" if k % 9 == 0 else t for k, t in enumerate(ROWS.timestamp)])),
)
simple("Some rows are broken", "log.csv", lambda: text(STARS) + "7,100\n" + text(STARS[:0], header=False).strip())
WRITERS["Tables of users and items"] = lambda: {
    "log.csv": text(PAIRS),
    "users.csv": "user,age\n" + "".join(f"{u},{20 + u}\n" for u in range(1, 31)),
    "items.csv": "item,title\n" + "".join(f'{i},"Film, {i}"\n' for i in range(100, 140)),
}
simple("Titles in the log", "log.csv", lambda: text(PAIRS.assign(name=[f"film {i}" for i in PAIRS.item])))
simple(
    "A column that says the part",
    "log.csv",
    lambda: text(PAIRS.assign(split=["test" if k % 10 == 9 else "train" for k in range(len(PAIRS))])),
)


def listed(rows: pd.DataFrame) -> str:
    return "".join(f"{u} {' '.join(map(str, own))}\n" for u, own in rows.groupby("user")["item"])


def parts() -> tuple[pd.DataFrame, pd.DataFrame]:
    last = np.arange(len(PAIRS)) % 10 > 7
    return PAIRS[~last], PAIRS[last]


for place in ("Lists of items, in two files", "Gowalla"):
    WRITERS[place] = lambda: {f"{name}.txt": listed(p) for name, p in zip(("train", "test"), parts(), strict=True)}
ATOMIC = STARS.set_axis(["user_id:token", "item_id:token", "rating:float"], axis=1)
simple("RecBole's atomic files", "x.inter", lambda: text(ATOMIC, "\t"))
WRITERS["RecBole's benchmark files"] = lambda: {
    f"x.{part}.inter": text(ATOMIC[rows], "\t")
    for part, rows in (
        ("train", np.arange(300) % 10 < 8),
        ("valid", np.arange(300) % 10 == 8),
        ("test", np.arange(300) % 10 == 9),
    )
}


# ---- public data sets

simple("MovieLens 100K", "u.data", lambda: text(ROWS, "\t", header=False))
WRITERS["MovieLens 1M"] = lambda: {
    "ratings.dat": text(ROWS, "::", header=False),
    "users.dat": "1::F::1::10::48067\n",
    "movies.dat": "".join(f"{i}::Film, {i} (1995)::Drama|War\n" for i in range(100, 140)),
}
WRITERS["MovieLens 10M"] = WRITERS["MovieLens 1M"]
MOVIES = "movieId,title,genres\n" + "".join(f'{i},"Film, {i} (1995)",Drama|War\n' for i in range(100, 140))
for place in ("MovieLens 20M", "MovieLens latest small"):
    WRITERS[place] = lambda: {
        "ratings.csv": text(ROWS.set_axis(["userId", "movieId", "rating", "timestamp"], axis=1)),
        "movies.csv": MOVIES,
    }
WRITERS["HetRec 2011 Last.fm"] = lambda: {
    "user_artists.dat": text(STARS.set_axis(["userID", "artistID", "weight"], axis=1), "\t"),
    "artists.dat": "id\tname\turl\tpictureURL\n" + "".join(f"{i}\tBand {i}\thttp://x\t\n" for i in range(100, 140)),
}
simple(
    "Last.fm 360K",
    "usersha1-artmbid-artname-plays.tsv",
    lambda: text(
        pd.DataFrame([(f"{u:04x}", "mbid", f"band {i}", r) for u, i, r, _ in ROWS.itertuples(index=False)]),
        "\t",
        header=False,
    ),
)
simple(
    "Last.fm 1K",
    "userid-timestamp-artid-artname-traid-traname.tsv",
    lambda: "".join(
        f"user_{u:06d}\t{datetime.fromtimestamp(t, UTC):%Y-%m-%dT%H:%M:%SZ}\tmbid\tband {i}\t\tsong\n"
        for u, i, _, t in ROWS.itertuples(index=False)
    ),
)
simple(
    "Book-Crossing",
    "BX-Book-Ratings.csv",
    lambda: '"User-ID";"ISBN";"Book-Rating"\n' + "".join(f'"{u}";"0{i}X";"{r}"\n' for u, i, r in STARS.values),
)
simple("Amazon reviews 2014", "ratings_Beauty.csv", lambda: text(ROWS, header=False))
simple(
    "Amazon reviews 2018, ratings only",
    "All_Beauty.csv",
    lambda: text(ROWS[["item", "user", "rating", "timestamp"]], header=False),
)
simple(
    "Amazon reviews 2018",
    "All_Beauty_5.json.gz",
    lambda: gzip.compress(
        lines(
            [
                {
                    "reviewerID": f"A{u}",
                    "asin": f"B{i}",
                    "overall": float(r),
                    "unixReviewTime": t,
                    "style": {"Size:": "S"},
                }
                for u, i, r, t in ROWS.itertuples(index=False)
            ]
        ).encode()
    ),
)
simple(
    "Amazon reviews 2023",
    "All_Beauty.jsonl",
    lambda: lines(
        [
            {"user_id": f"A{u}", "parent_asin": f"B{i}", "rating": float(r), "timestamp": t * 1000 + 123, "images": []}
            for u, i, r, t in ROWS.itertuples(index=False)
        ]
    ),
)
simple("Taobao", "UserBehavior.csv", lambda: text(PAIRS.assign(c=7, b=WORDS, t=ROWS.timestamp), header=False))
simple(
    "Steam",
    "steam-200k.csv",
    lambda: "".join(f'{u},"Game, {i}",{w},{r},0\n' for (u, i, r) in STARS.values for w in ("purchase", "play")),
)
simple(
    "Yelp",
    "yelp_academic_dataset_review.json",
    lambda: lines(
        [
            {
                "review_id": "r",
                "user_id": f"u{u}",
                "business_id": f"b{i}",
                "stars": float(r),
                "date": f"{datetime.fromtimestamp(t, UTC):%Y-%m-%d %H:%M:%S}",
                "text": "long",
            }
            for u, i, r, t in ROWS.itertuples(index=False)
        ]
    ),
)
WRITERS["Netflix"] = lambda: {
    "combined_data_1.txt": "".join(
        f"{i}:\n" + "".join(f"{u},{r},2005-09-{1 + u % 28:02d}\n" for u, _, r in own.values)
        for i, own in STARS.groupby("item")
    ),
    "movie_titles.csv": "".join(f"{i},2003,Film, {i}\n" for i in range(100, 140)),
}
simple(
    "KuaiRec",
    "small_matrix.csv",
    lambda: text(
        pd.DataFrame(
            {
                "user_id": ROWS.user,
                "video_id": ROWS.item,
                "play_duration": 5,
                "video_duration": 9,
                "time": "",
                "date": "",
                "timestamp": "",
                "watch_ratio": ROWS.rating / 2,
            }
        )
    ),
)


# ---- events

EVENTS = ROWS.assign(clicked=CLICKED)
simple(
    "A column of 0 and 1",
    "log.csv",
    lambda: text(pd.DataFrame({"ad": ROWS.item, "site": [f"s{u % 3}" for u in ROWS.user], "clicked": CLICKED})),
)
WRITERS["Three files"] = lambda: {
    f"{part}.csv": text(EVENTS[["user", "item", "clicked"]][k::3]) for k, part in enumerate(("train", "val", "test"))
}
WRITERS["Tables of users and items beside events"] = lambda: {
    "log.csv": text(EVENTS[["user", "item", "clicked"]]),
    "people.csv": "person,age\n" + "".join(f"{u},{20 + u}\n" for u in range(1, 31)),
    "movies.dat": "".join(f"{i}::Film, {i}::g{i % 4}|g{i % 7}\n" for i in range(100, 140)),
}
simple("A rule as the label", "log.csv", lambda: text(STARS))
simple("A text as the label", "log.csv", lambda: text(PAIRS.assign(behavior=WORDS)))
simple("Purchases alone", "log.csv", lambda: text(PAIRS.assign(category=[f"c{i % 5}" for i in PAIRS.item])))
simple(
    "Several values in a cell",
    "log.csv",
    lambda: text(EVENTS[["user", "clicked"]].assign(genres=[f"g{i % 4}|g{i % 7}" for i in ROWS.item])),
)
simple(
    "Several values with numbers",
    "log.csv",
    lambda: text(EVENTS[["user", "clicked"]].assign(tags=[f"g{i % 4}:0.5|g{i % 7}:2" for i in ROWS.item])),
)
simple(
    "A category and its number",
    "log.csv",
    lambda: text(EVENTS[["clicked"]].assign(action=[f"a{i % 4}" for i in ROWS.item], amount=ROWS.rating / 2)),
)
simple(
    "Lists in JSON",
    "log.csv",
    lambda: text(EVENTS[["user", "clicked"]].assign(tags=[f'"[{i % 4}, {i % 7}]"' for i in ROWS.item])),
)
simple(
    "Histories in a column",
    "log.csv",
    lambda: text(EVENTS[["item", "clicked"]].assign(past=[f"{i} {100 + i % 9} 107" for i in ROWS.item])),
)
simple("Histories from the log itself", "log.csv", lambda: text(EVENTS.drop(columns="rating")))
simple("A number to predict", "log.csv", lambda: text(PAIRS.assign(price=ROWS.rating * 2.5)))
simple(
    "libffm",
    "log.ffm",
    lambda: "".join(f"{c} 0:{u}:1 1:{i}:0.{r}\n" for (u, i, r), c in zip(STARS.values, CLICKED, strict=True)),
)
simple(
    "libsvm",
    "log.svm",
    lambda: "".join(f"{2 * c - 1} {u}:0.5 {i}:{r}\n" for (u, i, r), c in zip(STARS.values, CLICKED, strict=True)),
)
simple(
    "Criteo",
    "train.txt",
    lambda: "".join(
        "\t".join([str(c), *(str(r + k) for k in range(13)), *(f"{i + k:08x}" for k in range(26))]) + "\n"
        for (_, i, r), c in zip(STARS.values, CLICKED, strict=True)
    ),
)
AVAZU = (
    "id,click,hour,C1,banner_pos,site_id,site_domain,site_category,app_id,app_domain,app_category,device_id,"
    "device_ip,device_model,device_type,device_conn_type,C14,C15,C16,C17,C18,C19,C20,C21"
)
simple(
    "Avazu",
    "train.csv",
    lambda: (
        AVAZU
        + "\n"
        + "".join(
            f"{k},{c},141021{k % 24:02d}," + ",".join(f"{i % (j + 2)}" for j in range(21)) + "\n"
            for k, (i, c) in enumerate(zip(ROWS.item, CLICKED, strict=True))
        )
    ),
)
WRITERS["Frappe"] = lambda: {
    f"frappe.{part}.libfm": "".join(
        f"{2 * c - 1} " + " ".join(f"{100 * j + (u + i) % 7 + 1}:1" for j in range(10)) + "\n"
        for (u, i), c in zip(PAIRS.values[k::3], CLICKED[k::3], strict=True)
    )
    for k, part in enumerate(("train", "validation", "test"))
}
WRITERS["MIND"] = lambda: {
    f"{part}/{name}": content
    for part in ("train", "dev")
    for name, content in {
        "behaviors.tsv": "".join(
            f"{k}\tU{u}\t11/{1 + k % 28}/2019 9:05:58 AM\tN1 N2\tN{i}-{c} N{i + 1}-{1 - c}\n"
            for k, ((u, i), c) in enumerate(zip(PAIRS.values, CLICKED, strict=True))
        ),
        "news.tsv": "".join(f"N{i}\tc{i % 3}\tx\tTitle\ta\tu\t[]\t[]\n" for i in range(99, 145)),
    }.items()
}
simple(
    "KuaiRand",
    "log_standard_4_08_to_4_21_1k.csv",
    lambda: text(
        pd.DataFrame(
            {"user_id": ROWS.user, "video_id": ROWS.item, "time_ms": ROWS.timestamp * 1000, "is_click": CLICKED}
        )
    ),
)
simple(
    "Tenrec",
    "ctr_data_1M.csv",
    lambda: text(pd.DataFrame({"user_id": ROWS.user, "item_id": ROWS.item, "click": CLICKED, "gender": ROWS.user % 2})),
)
simple(
    "Criteo attribution",
    "criteo_attribution_dataset.tsv.gz",
    lambda: gzip.compress(
        text(
            pd.DataFrame(
                {
                    "timestamp": ROWS.timestamp % 10**6,
                    "uid": ROWS.user,
                    "campaign": ROWS.item,
                    "conversion": 0,
                    "click": CLICKED,
                    "cost": 0.1,
                    "cat1": ROWS.item % 9,
                }
            ),
            "\t",
        ).encode()
    ),
)


def put(folder: Path, files: dict[str, Any]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if isinstance(content, pd.DataFrame):
            content.to_parquet(path, index=False)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content, encoding="utf-8")


def made(place: str, stated: Any) -> Any:
    """What a configuration says at a place, as an object."""
    if isinstance(stated, str):
        stated = {"class_path": stated}
    arguments = dict(stated.get("init_args", {}))
    for name in ("source", "split"):
        if name in arguments:
            arguments[name] = made(f"data.{name}", arguments[name])
    if "filters" in arguments:
        arguments["filters"] = [made("data.filters", one) for one in arguments["filters"]]
    if "history" in arguments:
        from recgnn.data import Histories

        arguments["history"] = Histories(**arguments["history"])
    return class_named(place, stated["class_path"])(**arguments)


def test_the_page_has_sixty_layouts_each_written_here() -> None:
    assert len(LAYOUTS) >= 60 and set(LAYOUTS) == set(WRITERS)
    assert all(len(block.splitlines()) <= 12 for block in LAYOUTS.values())


@pytest.mark.parametrize("title", LAYOUTS)
def test_a_layout_is_read_by_what_the_page_says(title: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECGNN_CACHE", str(tmp_path / "cache"))
    for kind in PublicLog.__subclasses__():
        for cls in (kind, *kind.__subclasses__(), *(k for c in kind.__subclasses__() for k in c.__subclasses__())):
            monkeypatch.setattr(cls, "counts", {}, raising=False)  # published ones are of the whole
    put(tmp_path, WRITERS[title]())
    data = made("data", yaml.safe_load(LAYOUTS[title])["data"])
    summary, prepared = data.prepared.summary, data.prepared
    total = sum(summary[part] for part in ("train", "val", "test"))
    if hasattr(prepared, "num_items"):
        chosen = {"Kinds of events": (STARS, WORDS), "Taobao": (STARS, WORDS)}.get(title)
        rows = PAIRS if chosen is None else PAIRS[[word == "buy" for word in WORDS]]
        if title == "Ratings, of which the high ones count":
            rows = PAIRS[STARS.rating >= 4]
        if title == "Likes and dislikes":
            rows = PAIRS[STARS.rating > 2]
        rows = rows[[k % 9 != 0 for k in range(300)]] if title == "Some times are missing" else rows
        assert prepared.num_users == rows.user.nunique() and prepared.num_items <= rows.item.nunique()
        assert 0.75 * len(rows) <= total <= 2 * len(rows)
        data.describe("ranking")
    else:
        assert total in (300, 600, 900, 1200) and len(prepared.encoders.names) >= 1
        data.describe("clicks")
