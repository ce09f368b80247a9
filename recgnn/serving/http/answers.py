"""Answers of a loaded run as plain lists and dicts, equal to what its methods return."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from recgnn.errors import ConfigError, RecGNNError, first_line
from recgnn.serving.http.bodies import Body, Explain, History, Predict, Recommend, Similar

EXACT = 2**53  # larger whole numbers are written as text, since readers of JSON round them


def plain(value: Any) -> Any:
    """A value of a table as JSON has it: null where there is none."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int) and not isinstance(value, bool):
        return value if abs(value) <= EXACT else str(value)
    return value if isinstance(value, str | bool | list) or value is None else str(value)


def records(frame: pd.DataFrame, columns: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of a table as dicts, of those columns that it has."""
    there = [name for name in columns if name in frame]
    values = [[plain(value) for value in frame[name].tolist()] for name in there]
    return [dict(zip(there, row, strict=True)) for row in zip(*values, strict=True)]


def ability(run: Any, name: str) -> Any:
    """A method of a run by name.

    Raises:
        ConfigError: if this kind of run has none.
    """
    method = getattr(run, name, None)
    if method is None:
        raise ConfigError(f"this run has no {name}: its model cannot do that")
    return method


def recommend(run: Any, questions: Sequence[Recommend]) -> list[Any]:
    """Answer questions that differ in their users alone, all at once: for each its lists, or its error.

    Where one question is refused, each is asked by itself, so that the others have their answers.
    """
    first = questions[0]
    if first.history is not None:
        return [_of_history(run, question) for question in questions]
    try:
        ids = [run.users.parse(question.users or []) for question in questions]
        users = list(dict.fromkeys(user for some in ids for user in some))
        options = first.model_dump(exclude={"users", "history", "k"})
        frame = ability(run, "recommend")(users, first.k, **options)
    except RecGNNError as error:
        if len(questions) == 1:
            return [error]
        return [answer for question in questions for answer in recommend(run, [question])]
    owners, lists = frame["user"].tolist(), dict[Any, list[dict[str, Any]]]()
    for owner, record in zip(owners, records(frame, ("item", "score", "title", "source")), strict=True):
        lists.setdefault(owner, []).append(record)
    return [[_list(user, lists.get(user, [])) for user in some] for some in ids]


def _list(user: Any, rows: list[dict[str, Any]]) -> dict[str, Any]:
    source = rows[0].get("source", "model") if rows else None
    items = [{name: value for name, value in row.items() if name != "source"} for row in rows]
    return {"user": plain(user), "source": source, "items": items}


def _of_history(run: Any, question: Recommend) -> Any:
    """The list of a new user, or the error."""
    options = question.model_dump(include={"k", "candidates", "exclude", "fallback"})
    try:
        frame = ability(run, "recommend_history")([question.history], **options)
    except RecGNNError as error:
        return error
    return [_list(None, records(frame, ("item", "score", "title", "source")))]


def similar(run: Any, question: Similar) -> dict[str, Any]:
    """The items similar to each of some."""
    frame = ability(run, "similar_items")(question.items, question.k, question.candidates, question.exclude)
    parts = {query: rows for query, rows in frame.groupby("query", sort=False)}
    queries = run.items.parse(question.items)
    columns = ("item", "score", "title")
    lists = [{"query": plain(q), "items": records(parts[q], columns) if q in parts else []} for q in queries]
    return {"lists": lists}


def predict(run: Any, question: Predict) -> dict[str, Any]:
    """The prediction of each row, and what was told beside them."""
    frame = pd.DataFrame(question.rows)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = ability(run, "predict")(frame)
    notes = [first_line(one.message) for one in told if isinstance(one.message, Warning)]
    return {"predictions": [plain(value) for value in found["prediction"].tolist()], "notes": notes}


def explain(run: Any, question: Explain) -> dict[str, Any]:
    """The parts of the score of each item."""
    frame = ability(run, "explain")(question.user, question.items)
    found = []
    for item in run.items.parse(question.items):
        rows = frame[frame["item"] == item]
        score = plain(rows["score"].iloc[0]) if len(rows) else None
        parts = records(rows.iloc[: question.parts], ("kind", "of", "share", "above", "both", "title"))
        found.append({"item": plain(item), "score": score, "parts": parts})
    return {"how": run.model.explanation, "items": found}


def history(run: Any, question: History) -> dict[str, Any]:
    """The items that a user has."""
    return {"items": records(ability(run, "items_of")(question.user), ("item", "title"))}


ONE_BY_ONE: dict[type[Body], Callable[[Any, Any], dict[str, Any]]] = {
    Similar: similar, Predict: predict, Explain: explain, History: history
}  # fmt: skip
"""Answers to questions that are not answered together."""
