"""The catalogue: the owners' formats, made here, and the real data where it is."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from recgnn.data.datasets import base as published
from recgnn.data.datasets import wheel
from recgnn.data.datasets.fixed_splits import AmazonBook, Gowalla, Yelp2018
from recgnn.data.datasets.movielens import MovieLens1M, MovieLens100K
from recgnn.errors import DataError

DATA = os.environ.get("RECGNN_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="RECGNN_DATA names no folder of real data")
ALL = [MovieLens100K, MovieLens1M, Gowalla, Yelp2018, AmazonBook]


def _original_100k(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "u.data").write_text("1\t10\t4\t100\n2\t20\t3\t90\n2\t10\t5\t95\n")
    (folder / "u.user").write_text("1|24|M|technician|85711\n2|53|F|other|00501\n")
    flags = "|".join(str(int(g in (3, 5))) for g in range(19))
    lines = f'10|Amélie "x" (2001)|01-Jan-2001||http://a|{flags}\n20|B, the|||http://b|{flags}\n'
    (folder / "u.item").write_bytes(lines.encode("latin-1"))
    return folder


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MovieLens100K, "counts", {"users": 2, "items": 2, "interactions": 3})
    monkeypatch.setattr(MovieLens1M, "counts", {"users": 2, "items": 2, "interactions": 2})
    monkeypatch.setattr(Gowalla, "counts", {"users": 2, "items": 3, "train": 3, "test": 1})


def test_movielens_100k_as_the_owner_has_it(tmp_path: Path, small: None) -> None:
    root = _original_100k(tmp_path / "ml-100k")
    log = MovieLens100K(root=root).read()
    assert log.interactions["item"].tolist() == [10, 20, 10]
    assert log.items["title"].tolist() == ['Amélie "x" (2001)', "B, the"]
    assert log.items["genres"].tolist() == ["Animation|Comedy"] * 2
    assert log.users["zip"].tolist() == ["85711", "00501"]
    assert MovieLens100K(root=tmp_path).fingerprint() == MovieLens100K(root=root).fingerprint()


def test_movielens_100k_in_the_owners_zip_file(tmp_path: Path, small: None) -> None:
    root = _original_100k(tmp_path / "files" / "ml-100k")
    (tmp_path / "zip").mkdir()
    with zipfile.ZipFile(tmp_path / "zip" / "ml-100k.zip", "w") as file:
        for path in root.iterdir():
            file.write(path, f"ml-100k/{path.name}")
    source = MovieLens100K(root=tmp_path / "zip", cache_dir=tmp_path / "cache")
    assert len(source.read()) == 3
    assert source.fingerprint() == MovieLens100K(root=root).fingerprint()


def test_movielens_1m_as_the_owner_has_it(tmp_path: Path, small: None) -> None:
    (tmp_path / "ratings.dat").write_text("1::10::4::100\n2::20::3::90\n")
    (tmp_path / "users.dat").write_text("1::F::1::10::48067\n2::M::56::16::02139\n")
    (tmp_path / "movies.dat").write_bytes(
        "10::Été (1995)::Drama\n30::C::War|Drama\n".encode("latin-1")
    )
    log = MovieLens1M(root=tmp_path).read()
    assert log.interactions["timestamp"].tolist() == [100, 90]
    assert log.users["zip"].tolist() == ["48067", "02139"]
    assert log.items["title"].tolist() == ["Été (1995)", "C"]


def test_damaged_or_missing_files_are_said(tmp_path: Path) -> None:
    root = _original_100k(tmp_path / "ml-100k")
    with pytest.raises(DataError, match="holds 2 users, ml-100k was published with 943"):
        MovieLens100K(root=root).read()
    with pytest.raises(
        DataError, match="holds no gowalla; expected train.parquet, test.parquet or"
    ):
        Gowalla(root=root).read()


def test_a_data_set_is_downloaded_once(tmp_path: Path, small: None, monkeypatch, capsys) -> None:
    calls = []

    def download(url: str, path: Path) -> None:
        calls.append(url)
        path.write_text("0 1 2\n1 3\n" if url.endswith("train.txt") else "1 1\n0\n")

    monkeypatch.setattr(published, "download", download)
    for _ in range(2):
        log = Gowalla(cache_dir=tmp_path).read()
        assert log.interactions["split"].tolist() == ["train"] * 3 + ["test"]
    assert calls == [*Gowalla.urls]
    assert capsys.readouterr().err.count("downloading from") == 1
    assert sorted(p.name for p in (tmp_path / "datasets" / "gowalla").iterdir()) == [
        "test.txt",
        "train.txt",
    ]


def _unreachable(url: str, path: Path) -> None:
    raise DataError(f"{url}: cannot be reached: no route")


def test_movielens_100k_from_the_package(tmp_path: Path, small: None, monkeypatch, capsys) -> None:
    monkeypatch.setattr(published, "download", _unreachable)

    def from_wheel(requirement: str, sha256: str, members: dict, folder: Path) -> None:
        content = {
            "ml-100k.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
            "1\t10\t4\t100\n2\t20\t3\t90\n2\t10\t5\t95\n",
            "ml-100k.user": "user_id:token\tzip_code:token\n1\t85711\n2\t00501\n",
            "ml-100k.item": "item_id:token\tmovie_title:token_seq\trelease_year:token\t"
            "class:token_seq\n10\tA\t2001\tDrama War\n20\tunknown\tunknown\tDrama\n",
        }
        for name in members.values():
            (folder / name).write_text(content[name])

    monkeypatch.setattr(wheel, "from_wheel", from_wheel)
    for _ in range(2):
        log = MovieLens100K(cache_dir=tmp_path).read()
    assert log.items["title"].tolist() == ["A (2001)", "unknown"]
    assert log.items["genres"].tolist() == ["Drama|War", "Drama"]
    assert log.users["zip"].tolist() == ["85711", "00501"]
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_when_nothing_can_be_had_both_reasons_are_given(tmp_path: Path, monkeypatch) -> None:
    def from_wheel(*_: object) -> None:
        raise DataError("pip download recbole==1.2.1: no network")

    monkeypatch.setattr(published, "download", _unreachable)
    monkeypatch.setattr(wheel, "from_wheel", from_wheel)
    with pytest.raises(
        DataError, match="no route; pip download .*: no network; .* as root"
    ) as error:
        MovieLens100K(cache_dir=tmp_path).read()
    assert "\n" not in str(error.value)
    assert not [p for p in (tmp_path / "datasets").iterdir() if p.is_dir()]


@pytest.mark.parametrize("source", ALL)
def test_names_are_those_of_the_run_folders(source) -> None:
    names = ["ml-100k", "ml-1m", "gowalla", "yelp2018", "amazon-book"]
    assert source.name == names[ALL.index(source)]


@needs_data
def test_real_data() -> None:
    log = MovieLens100K(root=DATA).read()
    assert log.interactions["rating"].mean() == pytest.approx(3.52986)
    assert log.items["title"][0] == "Toy Story (1995)" and len(log.users) == 943
    log = MovieLens1M(root=DATA).read()
    assert "timestamp" not in log.interactions and "pos" in log.interactions
    assert len(Gowalla(root=DATA).read()) == 1_027_370
