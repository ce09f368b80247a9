"""Named data sets on small files written in their owners' layouts, with what must be read worked out by hand."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from recgnn.data import (
    MIND,
    AmazonReviews,
    BookCrossing,
    CriteoAttribution,
    CTRDataModule,
    KuaiRand,
    KuaiRec,
    LastFM1K,
    LastFM2K,
    LastFM360K,
    MovieLens10M,
    MovieLens20M,
    MovieLensSmall,
    MovieLensTags,
    Netflix,
    Steam,
    Taobao,
    Tenrec,
    Yelp,
)
from recgnn.data.interactions.log import InteractionLog
from recgnn.errors import DataError


def put(folder: Path, **files: str) -> Path:
    """Write files, `__` in a name standing for a dot."""
    for name, text in files.items():
        folder.joinpath(name.replace("__", ".")).write_text(text, encoding="utf-8")
    return folder


def rows(log: InteractionLog, *columns: str) -> list[tuple]:
    return [tuple(row) for row in log.interactions[list(columns)].itertuples(index=False)]


def titles(log: InteractionLog) -> dict:
    return dict(zip(log.items["item"], log.items["title"], strict=True))


def test_movielens_csv(tmp_path: Path, monkeypatch) -> None:
    put(
        tmp_path,
        ratings__csv="userId,movieId,rating,timestamp\n1,296,5.0,1147880044\n2,1,3.5,1141415820\n",
        movies__csv='movieId,title,genres\n1,Toy Story (1995),Adventure|Animation\n296,"Pulp, Fiction",Crime\n',
    )
    log = MovieLensSmall(tmp_path).read()
    assert rows(log, "user", "item", "rating", "timestamp") == [(1, 296, 5.0, 1147880044), (2, 1, 3.5, 1141415820)]
    assert titles(log) == {1: "Toy Story (1995)", 296: "Pulp, Fiction"}
    with pytest.raises(DataError, match="holds 2 interactions, ml-20m was published with 20,000,263"):
        MovieLens20M(tmp_path).read()


def test_movielens_tags(tmp_path: Path) -> None:
    put(tmp_path, tags__csv='userId,movieId,tag,timestamp\n2,60756,"funny, dark",1445714994\n18,431,x,1462138765\n')
    log = MovieLensTags(tmp_path).read()
    expected = [("2,60756", "funny, dark", 1445714994), ("18,431", "x", 1462138765)]
    assert rows(log, "user", "item", "timestamp") == expected


def test_movielens_10m(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(MovieLens10M, "counts", {"interactions": 2})
    (tmp_path / "ml-10M100K").mkdir()
    put(
        tmp_path / "ml-10M100K",
        ratings__dat="1::122::5::838985046\n2::185::0.5::838983525\n",
        movies__dat='122::Boomerang "1992"::Comedy|Romance\n185::Net, The::Action\n',
    )
    log = MovieLens10M(tmp_path).read()
    assert rows(log, "user", "item", "rating") == [(1, 122, 5.0), (2, 185, 0.5)]
    assert titles(log)[122] == 'Boomerang "1992"'


def test_lastfm(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(LastFM2K, "counts", {})
    put(
        tmp_path,
        user_artists__dat="userID\tartistID\tweight\n2\t51\t13883\n3\t52\t11690\n",
        artists__dat="id\tname\turl\tpictureURL\n51\tDuran Duran\thttp://a\thttp://b\n52\tRöyksopp\thttp://c\t\n",
    )
    log = LastFM2K(tmp_path).read()
    assert rows(log, "user", "item", "weight") == [(2, 51, 13883.0), (3, 52, 11690.0)]
    assert titles(log) == {51: "Duran Duran", 52: "Röyksopp"}

    plays = "0a1\tmbid-1\tbetty blowtorch\t2137\n0a1\t\tdie ärzte\t1099\nbroken\n0b2\tmbid-1\tbetty blowtorch\t1\n"
    put(tmp_path, **{"usersha1-artmbid-artname-plays__tsv": plays})
    log = LastFM360K(tmp_path).read()
    assert rows(log, "user", "item", "weight") == [
        ("0a1", "betty blowtorch", 2137.0), ("0a1", "die ärzte", 1099.0), ("0b2", "betty blowtorch", 1.0),
    ]  # fmt: skip
    assert "1 rows that cannot be read are left out, such as 'broken'" in log.notes[0]

    played = "user_000001\t2009-05-04T23:08:57Z\tmbid\tDeep Dish\t\tFuck Me Im Famous\n"
    put(tmp_path, **{"userid-timestamp-artid-artname-traid-traname__tsv": played})
    log = LastFM1K(tmp_path).read()
    assert rows(log, "user", "item", "timestamp") == [("user_000001", "Deep Dish", 1241478537)]


def test_amazon_of_every_year(tmp_path: Path) -> None:
    put(tmp_path, ratings_Beauty__csv="A3NHU,0205616461,4.0,1369699200\nA3Z74,0558925278,5.0,1355443200\n",
        All_Beauty__csv="0143026860,A1V6B,1.0,1424304000\n014789302X,A2F5G,4.0,1418860800\n")  # fmt: skip
    log = AmazonReviews(tmp_path / "ratings_Beauty.csv").read()
    assert rows(log, "user", "item", "rating") == [("A3NHU", "0205616461", 4.0), ("A3Z74", "0558925278", 5.0)]
    assert log.name == "amazon-beauty"
    log = AmazonReviews(tmp_path / "All_Beauty.csv").read()
    assert rows(log, "user", "item", "timestamp") == [("A1V6B", "0143026860", 1424304000),
                                                      ("A2F5G", "014789302X", 1418860800)]  # fmt: skip
    review = {"overall": 5.0, "verified": True, "reviewerID": "A1", "asin": "B1", "style": {"Size:": "S"},
              "unixReviewTime": 1424304000, "reviewText": "great, \"really\""}  # fmt: skip
    (tmp_path / "All_Beauty_5.json.gz").write_bytes(gzip.compress((json.dumps(review) + "\n").encode()))
    log = AmazonReviews(tmp_path / "All_Beauty_5.json.gz").read()
    assert rows(log, "user", "item", "rating", "timestamp") == [("A1", "B1", 5.0, 1424304000)]
    review = {"rating": 4.0, "title": "ok", "images": [{"small": "x"}], "asin": "B2", "parent_asin": "B3",
              "user_id": "AE", "timestamp": 1588687728923, "helpful_vote": 0}  # fmt: skip
    (tmp_path / "All_Beauty.jsonl").write_text(json.dumps(review) + "\n")
    log = AmazonReviews(tmp_path / "All_Beauty.jsonl").read()
    assert rows(log, "user", "item", "rating") == [("AE", "B3", 4.0)]
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="is no file of Amazon's reviews"):
        AmazonReviews(tmp_path / "x.csv").read()


def test_shops(tmp_path: Path) -> None:
    put(tmp_path, UserBehavior__csv="1,2268318,2520377,pv,1511544070\n1,2333346,2520771,buy,1511561733\n")
    log = Taobao(tmp_path).read()
    assert rows(log, "user", "item", "behavior", "timestamp")[1] == (1, 2333346, "buy", 1511561733)

    put(tmp_path, **{"steam-200k__csv": '151603712,"Fallout, 4",purchase,1.0,0\n151603712,"Fallout, 4",play,87.0,0\n'})
    log = Steam(tmp_path).read()
    assert rows(log, "user", "item", "behavior", "weight") == [
        (151603712, "Fallout, 4", "purchase", 1.0), (151603712, "Fallout, 4", "play", 87.0),
    ]  # fmt: skip

    review = {"review_id": "r", "user_id": "u", "business_id": "b", "stars": 3.0, "useful": 0,
              "text": "If you decide", "date": "2018-07-07 22:09:11"}  # fmt: skip
    business = {"business_id": "b", "name": "St Honore, Pastries", "city": "Philadelphia", "attributes": {"a": "1"}}
    (tmp_path / "yelp_academic_dataset_review.json").write_text(json.dumps(review) + "\n")
    (tmp_path / "yelp_academic_dataset_business.json").write_text(json.dumps(business) + "\n")
    log = Yelp(tmp_path).read()
    assert rows(log, "user", "item", "rating", "timestamp") == [("u", "b", 3.0, 1531001351)]
    assert titles(log) == {"b": "St Honore, Pastries"} and "text" not in log.interactions

    text = '"User-ID";"ISBN";"Book-Rating"\n"276725";"034545104X";"0"\n"276726";"0155061224";"5"\n"x"\n'
    (tmp_path / "BX-Book-Ratings.csv").write_text(text, encoding="latin-1")
    log = BookCrossing(tmp_path).read()
    assert rows(log, "user", "item", "rating") == [(276725, "034545104X", 0.0), (276726, "0155061224", 5.0)]


def test_netflix(tmp_path: Path) -> None:
    put(tmp_path, combined_data_1__txt="1:\n1488844,3,2005-09-06\n822109,5,2005-05-13\n2:\n885013,4,2005-10-19\n",
        combined_data_2__txt="4500:\n2532865,4,2005-07-26\n")  # fmt: skip
    (tmp_path / "movie_titles.csv").write_text("1,2003,Dinosaur Planet\n72,1974,At Home Among Strangers, A Stranger\n")
    log = Netflix(tmp_path).read()
    assert rows(log, "user", "item", "rating") == [(1488844, 1, 3.0), (822109, 1, 5.0), (885013, 2, 4.0),
                                                   (2532865, 4500, 4.0)]  # fmt: skip
    day = np.datetime64("2005-09-06").astype("datetime64[s]").astype(int)
    assert log.interactions["timestamp"][0] == day and log.interactions["item"].dtype == np.int64
    put(tmp_path, combined_data_2__txt="4500:\n2532865,4\n")
    with pytest.raises(DataError, match="combined_data_2.txt, line 2: '2532865,4'; expected"):
        Netflix(tmp_path).read()


def test_kuai(tmp_path: Path) -> None:
    head = "user_id,video_id,play_duration,video_duration,time,date,timestamp,watch_ratio\n"
    put(tmp_path, big_matrix__csv=head + "0,3649,13838,10867,2020-07-05 00:08:23.438,20200705,1593878903.438,1.27\n"
        "0,9598,13665,10984,,,,0.5\n", item_categories__csv='video_id,feat\n3649,"[9, 13]"\n9598,[8]\n')  # fmt: skip
    log = KuaiRec(tmp_path).read()
    assert rows(log, "user", "item") == [(0, 3649), (0, 9598)]
    assert log.interactions["timestamp"].isna().tolist() == [False, True] and log.times.untimed == 1 and log.times.kept
    assert log.interactions["weight"].tolist() == [np.float32(1.27), np.float32(0.5)]
    assert log.items["feat"].tolist() == ["[9, 13]", "[8]"]

    head = "user_id,video_id,date,hourmin,time_ms,is_click,is_like\n"
    put(
        tmp_path,
        log_standard_4_08_to_4_21_1k__csv=head + "0,10,20220408,100,1649350000000,1,0\n",
        log_standard_4_22_to_5_08_1k__csv=head + "1,11,20220422,100,1650559600000,0,0\n",
        user_features_1k__csv="user_id,user_active_degree\n0,high_active\n",
        video_features_basic_1k__csv="video_id,author_id\n10,7\n11,8\n",
    )
    frame = KuaiRand(tmp_path).events()
    assert frame[["user", "item", "is_click", "author_id"]].values.tolist() == [[0, 10, 1, 7], [1, 11, 0, 8]]
    assert frame["user_active_degree"].fillna("").tolist() == ["high_active", ""]


def test_advertisements_and_articles(tmp_path: Path) -> None:
    put(tmp_path, ctr_data_1M__csv="user_id,item_id,click,follow,like,share,video_category,watching_times,gender,age\n"
        "1000,9,1,0,0,0,1,1,1,3\n")  # fmt: skip
    assert Tenrec(tmp_path).events()[["user", "item", "click"]].values.tolist() == [[1000, 9, 1]]
    text = ("timestamp\tuid\tcampaign\tconversion\tconversion_timestamp\tclick\tcost\tcat1\n"
            "0\t20073966\t22589171\t0\t-1\t0\t1e-05\t5824233\n")  # fmt: skip
    (tmp_path / "criteo_attribution_dataset.tsv.gz").write_bytes(gzip.compress(text.encode()))
    frame = CriteoAttribution(tmp_path).events()
    assert list(frame.columns) == ["timestamp", "user", "item", "conversion", "click", "cat1"]


def test_mind(tmp_path: Path) -> None:
    for part in ("train", "dev"):
        (tmp_path / part).mkdir()
        put(
            tmp_path / part,
            behaviors__tsv="1\tU13740\t11/11/2019 9:05:58 AM\tN55189 N42782\tN55689-1 N35729-0\n"
            "2\tU91836\t11/12/2019 6:11:30 PM\t\tN20678-0 N39317-0 N58114-1\n",
            news__tsv='N55689\tsports\tfootball_nfl\tCharles "Rogers"\tabstract\turl\t[]\t[]\n',
        )
    source = MIND(tmp_path / "train", tmp_path / "dev")
    frame = source.events()
    assert frame["item"].tolist() == ["N55689", "N35729", "N20678", "N39317", "N58114"] * 2
    assert frame["clicked"].tolist() == [1, 0, 0, 0, 1] * 2 and frame["split"].tolist() == ["train"] * 5 + ["val"] * 5
    assert frame["impression"].nunique() == 4 and frame["category"].fillna("")[0] == "sports"
    assert CTRDataModule(source, label="clicked").source is source and len(source.fingerprint()) == 64
    (tmp_path / "dev" / "behaviors.tsv").write_text("1\tU1\t11/11/2019 9:05:58 AM\tN1\tN2 N3\n")
    with pytest.raises(DataError, match="dev/behaviors.tsv, line 1, column 'shown': expected news with labels"):
        source.events()
