"""What the fields of an event are: declared in the configuration, or guessed from the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Literal, get_args

import numpy as np
import pandas as pd

from recgnn.data.readers.origin import need_columns
from recgnn.errors import ConfigError, DataError, did_you_mean, one_of

Kind = Literal["categorical", "numeric", "multi", "time", "drop"]
TimePart = Literal["hour", "weekday", "weekend", "month"]


@dataclass
class Field:
    """How one column of the events becomes features: categories, each with a number x, which is 1 unless said.

    Args:
        kind: `categorical`, one of many values; `numeric`; `multi`, several values in one text, as genres; `time`,
            seconds or dates, of which each part becomes a field; `drop`, left out.
        min_count: categorical, multi: rarer values of train share the row of unknown ones.
        buckets: categorical, multi: values are hashed into so many rows instead of having one each.
        values: categorical: the column with the number x of each row's value. A row without a number has no value.
        separator: multi: between the values.
        weights: multi: what stands between a value and its number x, such as `:` in `tag:0.5|other:2`; a value alone
            has x = 1, and an empty cell has no features at all.
        combine: multi: the values' `sum`, each times its x, or `mean`, each times x over the sum of all |x|; None:
            `sum` where there are weights, else `mean`.
        max_values: multi: how many are kept, the first.
        transform: numeric: `standard`, one weight or embedding times the value, less train's mean and in its standard
            deviations; `linear`, times the value as it is; `log2`, the category floor(ln(x)^2) of x > 2, else
            int(x), as Criteo's; `quantile`, the category of about equally many values.
        bins: numeric, `quantile`: how many categories.
        parts: time: `hour`, `weekday`, `weekend`, `month`, each a categorical field, in UTC.
    """

    kind: Kind = "categorical"
    min_count: int = 1
    buckets: int | None = None
    values: str | None = None
    separator: str = "|"
    weights: str | None = None
    combine: Literal["mean", "sum"] | None = None
    max_values: int = 8
    transform: Literal["standard", "linear", "log2", "quantile"] = "standard"
    bins: int = 32
    parts: list[TimePart] = field(default_factory=lambda: ["hour", "weekday", "weekend"])

    def check(self) -> None:
        """Refuse options that cannot be. (Not when it is made: a parser that tries types would hide the reason.)

        Raises:
            ConfigError: names the option.
        """
        for name in ("min_count", "max_values", "bins"):
            if getattr(self, name) < 1:
                raise ConfigError(f"fields: {name} must be at least 1, found {getattr(self, name)}")
        if self.buckets is not None and self.buckets < 1:
            raise ConfigError(f"fields: buckets must be at least 1, found {self.buckets}")
        one_of("fields: kind", self.kind, get_args(Kind))
        one_of("fields: transform", self.transform, ("standard", "linear", "log2", "quantile"))
        if self.combine is not None:
            one_of("fields: combine", self.combine, ("mean", "sum"))
        for part in self.parts:
            one_of("fields: part of a time", part, get_args(TimePart))
        if not self.separator or not self.parts:
            raise ConfigError("fields: separator and parts must not be empty")
        if self.values is not None and self.kind != "categorical":
            raise ConfigError(
                f"fields: values: {self.values} names the numbers of a categorical field, found kind {self.kind}; "
                "several values of one text have them beside them (weights: ':' of a multi field)"
            )
        if self.weights is not None and (self.kind != "multi" or self.weights in ("", self.separator)):
            raise ConfigError(
                f"fields: weights: {self.weights!r} of kind {self.kind}; expected what stands between a value and its "
                "number in a multi field, other than the separator between the values"
            )

    @property
    def averaged(self) -> bool:
        """Whether several values count by their mean."""
        return self.combine == "mean" or (self.combine is None and self.weights is None)

    def describe(self) -> str:
        """Return its kind and the options that differ from the defaults."""
        default = Field(self.kind)
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        more = [f"{name} {value}" for name, value in own.items() if value != getattr(default, name)]
        return ", ".join([self.kind, *more])

    def as_dict(self) -> dict:
        return asdict(self)


def as_field(given: str | dict | Field, name: str) -> Field:
    """Return a field from its declaration: a kind, or a mapping with one.

    Raises:
        ConfigError: for an unknown kind or option.
    """
    if isinstance(given, Field):
        given.check()
        return given
    options = {"kind": given} if isinstance(given, str) else dict(given)
    known = [f.name for f in fields(Field)]
    for option in options:
        if option not in known:
            raise ConfigError(f"fields: {name} has no option {option!r}{did_you_mean(option, known)}")
    kinds = get_args(Kind)
    if options.get("kind", "categorical") not in kinds:
        raise ConfigError(
            f"fields: {name} is {options['kind']!r}{did_you_mean(str(options['kind']), kinds)}; expected one of "
            f"{', '.join(kinds)}"
        )
    found = Field(**options)
    found.check()
    return found


def declared(given: Mapping[str, str | dict | Field], columns: list[str]) -> dict[str, Field]:
    """Return the declared fields, each of which must be a column, as must be that of its numbers.

    Raises:
        ConfigError: if one is not, or none is left.
    """
    given = {str(name): value for name, value in given.items()}  # YAML takes a bare 3 for a number
    need_columns(given, columns, "fields", error=ConfigError)
    found = {name: as_field(value, name) for name, value in given.items()}
    found = {name: value for name, value in found.items() if value.kind != "drop"}
    need_columns((v.values for v in found.values() if v.values), columns, "fields: values", error=ConfigError)
    if not found:
        raise ConfigError("fields: none is left; name at least one column that is not dropped")
    return found


def guess(frame: pd.DataFrame, excluded: set[str], separator: str = "|") -> dict[str, Field]:
    """Return a field for each column of the training events, by its type and values.

    Text is categorical, or multi-valued where values have the separator, or dropped where nearly every value is
    another (titles, addresses); numbers are numeric where there are more than 20, else categorical, and ids always;
    `timestamp` and dates are times.
    """
    found = {}
    for name in frame.columns:
        if name in excluded:
            continue
        column = frame[name]
        known = column.dropna()
        distinct = known.nunique()
        if name in ("user", "item"):
            found[name] = Field("categorical")
        elif pd.api.types.is_datetime64_any_dtype(column.dtype) or name == "timestamp":
            found[name] = Field("time")
        elif pd.api.types.is_bool_dtype(column.dtype):
            found[name] = Field("categorical")
        elif pd.api.types.is_numeric_dtype(column.dtype):
            found[name] = Field("numeric" if distinct > 20 else "categorical")
        elif distinct > 100 and distinct > 0.5 * len(known):
            found[name] = Field("drop")
        elif known.astype("str").str.contains(separator, regex=False).mean() > 0.1:
            found[name] = Field("multi", separator=separator)
        else:
            found[name] = Field("categorical")
        if distinct < 2 and found[name].kind != "drop":
            found[name] = Field("drop")  # it says nothing
    if not [f for f in found.values() if f.kind != "drop"]:
        raise DataError("no column of the events can be a field; declare them (data.init_args.fields)")
    return found


def check_values(frame: pd.DataFrame) -> None:
    """Refuse columns of lists.

    Raises:
        DataError: names the first.
    """
    for name in frame.columns:
        column = frame[name]
        if column.dtype == object and column.map(lambda x: isinstance(x, list | tuple | np.ndarray)).any():
            raise DataError(f"column '{name}' holds lists; join their values with a separator, as in a|b|c")
