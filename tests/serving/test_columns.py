"""The columns of tables under the names that a run's own data have for them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from recgnn import load
from recgnn.cli.entry import main
from recgnn.data import CTRDataModule, EventTable, FrameLog, GraphDataModule, TableLog
from recgnn.errors import ConfigError, DataError
from recgnn.serving.columns import own_columns
from recgnn.serving.output import write

NAMES = {"user": "who", "item": "movie"}
ROWS = pd.DataFrame({"who": [1, 2], "movie": [3, 4], "stars": [5, 1]})


def test_columns_are_found_by_their_names_in_the_data_or_by_ours() -> None:
    for given in (ROWS, ROWS.rename(columns={"who": "user"}), ROWS.rename(columns={"who": "user", "movie": "item"})):
        assert own_columns(given, NAMES, ("user", "item"))[["user", "item"]].to_numpy().tolist() == [[1, 3], [2, 4]]
    both = own_columns(ROWS.assign(user=[8, 9]), NAMES)  # as in training, the column that was not chosen is left out
    assert both["user"].tolist() == [1, 2] and list(both) == ["user", "item", "stars"]
    swapped = own_columns(pd.DataFrame({"user": [1], "item": [2]}), {"user": "item", "item": "user"})
    assert swapped.to_dict("records") == [{"item": 1, "user": 2}]


@pytest.mark.parametrize(
    ("frame", "names", "message"),
    [
        (ROWS.drop(columns="who"), NAMES, "rows: no column 'who'; found: movie, stars; mend it"),
        (ROWS.drop(columns="movie"), NAMES, "rows: no column 'movie'"),
        (ROWS[["stars"]], {}, "rows: no column 'user'"),
        (ROWS.set_axis(["who", "movie", "who"], axis=1), NAMES, "rows: two columns are named 'who'"),
        (ROWS.assign(prediction=0), NAMES, "rows: has a column 'prediction' already"),
        (ROWS, {"user": "who", "item": "who"}, "rows: column 'who' cannot be the user and another one too"),
    ],
)
def test_what_is_missing_or_stands_twice_is_refused(frame, names, message) -> None:
    with pytest.raises(DataError, match=message):
        own_columns(frame, names, ("user", "item"), "rows", "prediction", "mend it")


def source(folder) -> TableLog:
    """A log whose columns have names of their own."""
    pairs = [(u, (3 * u + 7 * j) % 20) for u in range(20) for j in range(8)]
    table = pd.DataFrame(pairs, columns=["who", "movie"])
    table["stars"], table["when"] = 1 + (table["who"] * table["movie"]) % 5, 10**9 + table.index
    table.assign(color=["r", "g"] * 80).to_csv(folder / "log.csv", index=False)
    return TableLog(folder / "log.csv", "who", "movie", "stars", "when")


@pytest.fixture(scope="module")
def runs(tmp_path_factory, make_run) -> dict:
    """A run of each kind on that log, and its table."""
    folder = tmp_path_factory.mktemp("columns")
    log = source(folder)
    make_run(folder / "mf", GraphDataModule(log, batch_size=64), "MF", {"embedding_dim": 4}, 1, ks=[5])
    fields = {"user": "categorical", "item": "categorical", "color": "categorical", "timestamp": "time"}
    data = CTRDataModule(log, "rating >= 4", fields, batch_size=64)
    make_run(folder / "fm", data, "FM", {"embedding_dim": 4}, 1)
    return {"mf": folder / "mf", "fm": folder / "fm", "table": pd.read_csv(folder / "log.csv")}


OURS = {"who": "user", "movie": "item", "stars": "rating", "when": "timestamp"}


@pytest.mark.parametrize("kind", ["mf", "fm"])
def test_the_training_table_is_answered_as_its_renamed_self(kind: str, runs, capsys, tmp_path) -> None:
    trained, table = load(runs[kind]), runs["table"].iloc[:12]
    renamed = table.rename(columns=OURS)
    assert trained.names == {ours: theirs for theirs, ours in OURS.items()}
    expected = trained.predict(renamed)["prediction"]
    assert expected.nunique() > 6
    found = trained.predict(table)
    np.testing.assert_array_equal(found["prediction"], expected)
    assert list(found) == [*table, "prediction"], "the columns keep their names"
    np.testing.assert_array_equal(trained.score(table)["score"], expected)
    lists = trained.recommend(candidates=table, k=3, exclude_seen=False)
    pd.testing.assert_frame_equal(lists, trained.recommend(candidates=renamed, k=3, exclude_seen=False))
    assert len(lists)
    table.to_csv(tmp_path / "rows.csv", index=False)
    asked = ["--run", str(runs[kind]), "--input", str(tmp_path / "rows.csv")]
    by_command = main("predict", asked)["prediction"]
    np.testing.assert_allclose(by_command, expected)
    table.rename(columns={"who": "customer"}).to_csv(tmp_path / "rows.csv", index=False)
    np.testing.assert_allclose(main("predict", [*asked, "--user", "customer"])["prediction"], expected)
    with pytest.raises(DataError, match="rows.csv: no column 'who'.*; name it with --user or --item"):
        main("predict", asked)
    with pytest.raises(DataError, match="no column 'nobody'"):
        main("predict", [*asked, "--user", "nobody"])


@pytest.mark.parametrize("kind", ["mf", "fm"])
def test_rows_without_a_user_or_an_item_are_not_scored(kind: str, runs) -> None:
    trained, table = load(runs[kind]), runs["table"].iloc[:3]
    for column in ("who", "movie"):
        for answer in (trained.predict, trained.score):
            with pytest.raises(DataError, match=f"no column '{column}'"):
                answer(table.drop(columns=column))


def test_other_missing_columns_are_told(runs) -> None:
    trained, table = load(runs["fm"]), runs["table"].iloc[:3]
    with pytest.warns(UserWarning, match="missing columns, taken as having no value: color, timestamp"):
        trained.predict(table.drop(columns=["color", "when"]))
    with pytest.raises(DataError, match="column 'color' holds lists"):
        trained.predict(table.assign(color=[["r"], ["g"], ["r"]]))


def test_new_interactions_and_histories_have_the_names_of_the_data(runs, tmp_path) -> None:
    trained = load(runs["mf"])
    new = pd.DataFrame({"who": [99, 99], "movie": [1, 2]})
    assert len(trained.fold_in(new).users) == 21
    with pytest.raises(DataError, match="the frame to fold in: no column 'movie'"):
        trained.fold_in(new.drop(columns="movie"))
    expected = trained.recommend_history(new.rename(columns=OURS), k=2)
    pd.testing.assert_frame_equal(trained.recommend_history(new, k=2), expected)
    new.to_csv(tmp_path / "new.csv", index=False)
    found = main("recommend", ["--run", str(runs["mf"]), "--histories_file", str(tmp_path / "new.csv"), "--k", "2"])
    assert found["item"].tolist() == expected["item"].tolist()


def test_a_context_has_the_names_of_the_data_and_each_once(runs) -> None:
    trained = load(runs["fm"])
    one, other = (trained.recommend(users=[1], k=3, context=c) for c in ({"when": 5}, {"timestamp": 5}))
    pd.testing.assert_frame_equal(one, other)
    with pytest.raises(ConfigError, match="--context color=r,color=g: names a field twice"):
        main("recommend", ["--run", str(runs["fm"]), "--users", "1", "--context", "color=r,color=g"])


def test_a_column_of_the_input_that_is_called_score_is_shown_as_it_is(capsys) -> None:
    write(iter([pd.DataFrame({"score": ["a", "b"], "prediction": [0.123456789, float("nan")]})]), "-")
    assert capsys.readouterr().out.splitlines() == ["score,prediction", "a,0.12346", "b,"]


def test_sources_without_other_names_have_none(tmp_path) -> None:
    log = FrameLog(ROWS.rename(columns=OURS)).read()
    assert log.columns == {}
    ROWS.assign(label=[0, 1]).to_csv(tmp_path / "events.csv", index=False)
    assert not hasattr(EventTable(tmp_path / "events.csv"), "chosen"), "its columns are the fields"
