"""Tables of users and items beside a log or events, whatever their columns are called."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from recgnn import load
from recgnn.cli.entry import main
from recgnn.data import EventTable, TableLog
from recgnn.errors import ConfigError, DataError

MOVIES = "".join(f"{i}::Film {i} ({1990 + i})::{'A|B' if i % 2 else 'B'}\n" for i in range(1, 13))
PEOPLE = "person;age\n" + "".join(f"{u};{20 + u}\n" for u in range(1, 21))
PERSON = {"path": "people.csv", "id": "person"}
MOVIE = {"path": "movies.dat", "columns": ["movie", "title", "genres"], "separator": "::", "id": "movie"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "movies.dat").write_text(MOVIES)
    (tmp_path / "people.csv").write_text(PEOPLE)
    rows = [(u, i, (u * i + i) % 2) for u in range(1, 22) for i in range(1, 14) if (u + i) % 3]
    pd.DataFrame(rows, columns=["user", "item", "label"]).to_csv(tmp_path / "log.csv", index=False)
    return tmp_path


def test_a_log_takes_tables_of_any_names(folder: Path) -> None:
    sides = {"users": PERSON, "items": MOVIE}
    log = TableLog(folder / "log.csv", **sides).read()
    assert log.items.iloc[2].tolist() == [3, "Film 3 (1993)", "A|B"] and log.users.iloc[0].tolist() == [1, 21]
    prints = [TableLog(folder / "log.csv", **kwargs).fingerprint() for kwargs in (
        sides, {}, {"users": PERSON}, {"items": PERSON}, sides | {"items": MOVIE | {"id": "title"}},
    )]  # fmt: skip
    assert len(set(prints)) == len(prints)


@pytest.mark.parametrize("id_in_events", ["item", "movie"])
def test_events_are_joined_with_what_tables_say(folder: Path, id_in_events: str) -> None:
    events = pd.read_csv(folder / "log.csv").rename(columns={"item": id_in_events})
    events.to_csv(folder / "log.csv", index=False)
    source = EventTable(folder / "log.csv", users=PERSON, items=MOVIE)
    found = source.events()
    genres = {i: "A|B" if i % 2 else "B" for i in range(1, 13)}  # item 13 and user 21 have no row
    assert list(found) == ["user", id_in_events, "label", "age", "genres"] and len(found) == len(events)
    assert found[id_in_events].tolist() == events[id_in_events].tolist()
    for user, item, age, said in zip(events["user"], events[id_in_events], found["age"], found["genres"], strict=True):
        assert pd.isna(age) if user == 21 else age == 20 + user
        assert pd.isna(said) if item == 13 else said == genres[item]
    assert source.owners == {"age": "user", "genres": "item"}
    assert next(iter(source.blocks({"genres"}))).columns.tolist() == ["genres"]


def test_a_run_shows_titles_and_knows_whose_the_columns_are(folder: Path, capsys) -> None:
    main("fit", [
        "--data=CTRDataModule", "--data.source=EventTable", "--data.source.path=log.csv", "--model=FM",
        "--data.source.items={path: movies.dat, id: movie, separator: '::', columns: [movie, title, genres]}",
        "--data.source.users={path: people.csv, id: person}", "--trainer.max_epochs=1", "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false", "--run_dir=run", "--model.embedding_dim=2",
    ])  # fmt: skip
    told = capsys.readouterr().out
    assert "genres: multi (4 rows, 2 values at most), of the item" in told and "of the user" in told
    shown = load("run").recommend([1], k=2, exclude_seen=False)
    assert shown["title"].str.startswith("Film ").all()


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"path": "movies.csv", "ids": "movie"}, ConfigError, r"items: no option 'ids' \(did you mean 'id'"),
        ({"id": "movie"}, ConfigError, "items: names no file"),
        ("people.csv", DataError, "people.csv: no column 'item'; found: person, age; name it: items: {path: ..., id"),
        ({"path": "people.csv", "id": "age"}, DataError, "none of its 20 items, such as 21, is in the"),
    ],
)
@pytest.mark.parametrize("kind", [TableLog, EventTable])
def test_tables_that_do_not_fit(folder: Path, kind, given, error, message) -> None:
    with pytest.raises(error, match=message):
        source = kind("log.csv", items=given)
        source.read() if kind is TableLog else source.events()


def test_ids_of_another_writing_meet(folder: Path) -> None:
    """Text in one table, numbers in the other."""
    (folder / "movies.csv").write_text("item,year\n01,2001\n2,2002\nx,2003\n")
    found = EventTable(folder / "log.csv", items=folder / "movies.csv").events()
    years = found.drop_duplicates("item").set_index("item")["year"]
    assert years[1] == 2001 and years[2] == 2002 and years.drop([1, 2]).isna().all()
