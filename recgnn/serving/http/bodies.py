"""The questions that a server takes and the answers that it gives, with their limits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from recgnn.errors import did_you_mean, shown

MAX_K, MAX_IDS, MAX_FILTER, MAX_ROWS, MAX_EXPLAINED, MAX_TEXT = 1000, 1000, 10_000, 1000, 50, 500
MAX_LISTED = 100_000  # items of all lists of an answer


def _id(value: Any) -> Any:
    """An id as it is: a whole number or text.

    Raises:
        ValueError: for anything else, or a text that is no id's.
    """
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{shown(value)} is no id: expected text or a whole number")
    if isinstance(value, str) and not 0 < len(value) <= MAX_TEXT:
        raise ValueError(f"an id of {len(value)} characters; expected 1 to {MAX_TEXT}")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"the id {shown(value)} is beyond 64 bits; write it as text where ids are text")
    return value


def _listed(value: Any) -> Any:
    """One id, or several, as a list."""
    return value if isinstance(value, list) or value is None else [value]


Id = Annotated[int | str, BeforeValidator(_id)]
Ids = Annotated[list[Id], Field(min_length=1, max_length=MAX_IDS), BeforeValidator(_listed)]
Filter = Annotated[list[Id], Field(min_length=1, max_length=MAX_FILTER), BeforeValidator(_listed)]
Value = str | int | float | bool | None | list[str | int | float]
Row = Annotated[dict[str, Value], Field(min_length=1, max_length=1000)]
Length = Annotated[int, Field(ge=1, le=MAX_K, strict=True)]


class Body(BaseModel):
    """A question: no unknown names."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _names(cls, data: Any) -> Any:
        for name in data if isinstance(data, dict) else ():
            if name not in cls.model_fields:
                known = ", ".join(cls.model_fields)
                raise ValueError(f"no {shown(name)} here{did_you_mean(name, cls.model_fields)}; there are: {known}")
        return data


class Recommend(Body):
    """The best items for users, or for a new user by what that one has."""

    users: Ids | None = Field(None, description="ids of users, or one", examples=[[196, 22]])
    history: Ids | None = Field(None, description="instead of users: ids of the items that a new user has")
    k: Length = Field(10, description="how many items each")
    exclude_seen: Literal["all", "train+val", "train", "none"] | None = Field(
        None, description="leave out the items that users have in these parts of the run's data; by default all"
    )
    candidates: Filter | None = Field(None, description="ids of the items to choose from; by default all")
    exclude: Filter | None = Field(None, description="ids of items that are recommended to nobody")
    fallback: Literal["popularity"] | None = Field(
        "popularity", description="what unknown users get, told in `source`; null refuses them"
    )
    context: Annotated[dict[str, Value], Field(max_length=1000)] | None = Field(
        None, description="models of clicks: values of fields in place of those of the user's last event"
    )

    @model_validator(mode="after")
    def _either(self) -> Recommend:
        if (self.users is None) == (self.history is None):
            raise ValueError("expected either users or history")
        _not_too_many(self.users, self.k)
        if self.history is not None and (self.exclude_seen or self.context):
            raise ValueError("a history has neither exclude_seen nor context")
        return self


def _not_too_many(ids: list | None, k: int) -> None:
    """Refuse a question whose answer would be too long."""
    if len(ids or ()) * k > MAX_LISTED:
        raise ValueError(f"{len(ids or ()):,} lists of {k:,} items; expected at most {MAX_LISTED:,} items in all")


class Similar(Body):
    """The items most similar to given items."""

    items: Ids = Field(description="ids of items, or one", examples=[[50]])
    k: Length = 10
    candidates: Filter | None = None
    exclude: Filter | None = None

    @model_validator(mode="after")
    def _short(self) -> Similar:
        _not_too_many(self.items, self.k)
        return self


class Predict(Body):
    """A rating, probability or score for each row, which has the columns of the run's data (user, item …)."""

    rows: Annotated[list[Row], Field(min_length=1, max_length=MAX_ROWS)] = Field(examples=[[{"user": 196, "item": 50}]])


class Explain(Body):
    """Why items have their scores for a user: the parts of each score, the largest first."""

    user: Id = Field(examples=[196])
    items: Annotated[list[Id], Field(min_length=1, max_length=MAX_EXPLAINED), BeforeValidator(_listed)] = Field(
        examples=[[50]]
    )
    parts: Annotated[int, Field(ge=1, le=1000, strict=True)] = Field(100, description="how many of each, the largest")


class History(Body):
    """The items that a user has in the run's data."""

    user: Id = Field(examples=[196])


QUESTIONS: dict[str, type[Body]] = {
    kind.__name__.lower(): kind for kind in (Recommend, Similar, Predict, Explain, History)
}


def one_line(errors: Iterable[Any]) -> str:
    """Tell the first of pydantic's errors in one line: where, what was found, and what was expected."""
    error = next(iter(errors))
    place = ".".join(str(part) for part in error["loc"]) or "the question"
    own, text = error["type"] == "value_error", str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "json_invalid":
        return f"the body is no JSON: {error.get('ctx', {}).get('error', text)}"
    if error["type"] == "missing":
        return f"{place} is missing"
    if own or error["type"] in ("too_long", "too_short"):
        return f"{place}: {text if own else text[:1].lower() + text[1:]}"
    return f"{place}: {text[:1].lower()}{text[1:]}, found {shown(error['input'])}"
