"""What the fields of an event are: declared in the configuration, or guessed from the table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Literal

import numpy as np
import pandas as pd

from recgnn.data.readers.lists import hold_lists
from recgnn.data.readers.origin import need_columns
from recgnn.data.readers.times import UNSAID, Written
from recgnn.errors import ConfigError, Count, DataError, Size, check, describe, did_you_mean, hints_of

_ID = re.compile(
    r"[a-z0-9](Id|ID)$|(?i:(^|[_\W])(u|p)?(id|ids|code|sku|isbn|asin|hash|zip|zip_?code|post_?code|postal_?code)$)"
    r"|(?i:^(user|item|movie|film|product|ad|book|song|artist|track|album|video|news|article|session|device|shop|store|"
    r"brand|category|cat|customer|client|member|query|campaign|creative|site|app|page|poi|venue|game|seller)id$)"
)
"""Names of ids."""
_TIME = re.compile(r"time|date|(^|_)(ts|at)$", re.IGNORECASE)
Kind = Literal["categorical", "numeric", "multi", "time", "drop"]
TimePart = Literal["hour", "weekday", "weekend", "month"]


@dataclass
class Field:
    """How one column of the events becomes features: categories, each with a number x, which is 1 unless said.

    Args:
        kind: `categorical`, one of many values; `numeric`; `multi`, several values in a list or in one text, as genres;
            `time`, moments in any notation, of which each part becomes a field; `drop`, left out.
        min_count: categorical, multi: rarer values of train share the row of unknown ones.
        buckets: categorical, multi: values are hashed into so many rows instead of having one each.
        values: categorical: the column with the number x of each row's value. A row without a number has no value.
        separator: multi: between the values of text; lists, also in JSON, need none.
        weights: multi: what stands between a value and its number x, such as `:` in `tag:0.5|other:2`; a value alone
            has x = 1, and an empty cell has no features at all.
        combine: multi: the values' `sum`, each times its x, or `mean`, each times x over the sum of all |x|; None:
            `sum` where there are weights, else `mean`.
        max_values: multi: how many are kept, the first; as many as the longest row of train has when None, up to 2^29
            cells in all rows.
        padding: multi: what only fills lists up, and is no value; "" where there is none. When None, train is looked
            at, and refused where one value seems to be that.
        transform: numeric: `standard`, one weight or embedding times the value, less train's mean and in its standard
            deviations; `linear`, times the value as it is; `log2`, the category floor(ln(x)^2) of x > 2, else
            int(x), as Criteo's; `quantile`, the category of about equally many values.
        bins: numeric, `quantile`: how many categories.
        parts: time: `hour`, `weekday`, `weekend`, `month`, each a categorical field, in UTC.
        time_format: time: how the moments are written (see `Written`); None: as the source says, or found out.
        time_unit: time: of numbers, likewise.
        time_zone: time: of moments that name none, likewise.
    """

    kind: Kind = "categorical"
    min_count: Count = 1
    buckets: Count | None = None
    values: str | None = None
    separator: str = "|"
    weights: str | None = None
    combine: Literal["mean", "sum"] | None = None
    max_values: Size | None = None
    padding: str | int | float | None = None
    transform: Literal["standard", "linear", "log2", "quantile"] = "standard"
    bins: Size = 32
    parts: list[TimePart] = field(default_factory=lambda: ["hour", "weekday", "weekend"])
    time_format: str | None = None
    time_unit: str | None = None
    time_zone: str | None = None

    def check(self, column: str) -> None:
        """Refuse options that cannot be. (Not when it is made: a parser that tries types would hide the reason.)

        Args:
            column: Whose field it is.

        Raises:
            ConfigError: names the column and the option.
        """
        check(f"fields: {column}", vars(self), hints_of(Field))
        if not self.separator or not self.parts:
            raise ConfigError(f"fields: {column}: separator and parts must not be empty")
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
        self.written(UNSAID)

    def written(self, source: Written) -> Written:
        """Return what is said of the field's times, here or by the source."""
        zone = self.time_zone or source.time_zone
        if self.time_format or self.time_unit:
            return Written(self.time_format, self.time_unit, zone, source.on_missing)
        return replace(source, time_zone=zone)

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
    options = {"kind": given} if isinstance(given, str) else given
    if isinstance(options, dict):
        known = [f.name for f in fields(Field)]
        for option in options:
            if option not in known:
                raise ConfigError(f"fields: {name} has no option {option!r}{did_you_mean(option, known)}")
        options = Field(**options)
    if not isinstance(options, Field):
        raise ConfigError(f"fields: {name} is {given!r}; expected a kind, {describe(Kind)}, or a mapping with one")
    options.check(name)
    return options


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


def guess(frame: pd.DataFrame, excluded: set[str]) -> tuple[dict[str, Field], dict[str, str]]:
    """Return a field for each column of the training events, by its name and values, and why others are left out.

    - `user`, `item` and names that say so (`userId`, `ad_id`, `zip`) are categorical.
    - `timestamp`, dates, and moments in a column whose name says so are times.
    - Numbers of at most 20 values are categorical, and fractions of more are numeric.
    - Integers of more are categorical, unless they are plainly quantities: some are below -1; or there is one for
      hardly two rows; or most rows lie in the lowest quarter of the range and neighbouring values are about equally
      frequent, as counts, prices and durations are, and ids are not.
    - Text is multi-valued where most rows are lists, or a tenth have the separator |, else categorical.
    - What has one value, or another one in (nearly) every row, is left out.
    """
    fields, left_out = {}, {}
    for name in frame.columns:
        if name in excluded:
            continue
        kind, why = _guess(str(name), frame[name].dropna())
        if kind == "drop":
            left_out[name] = why
        else:
            fields[name] = Field(kind)
    if not fields:
        raise DataError("no column of the events can be a field; declare them (data.init_args.fields)")
    return fields, left_out


def _guess(name: str, known: pd.Series) -> tuple[Kind, str]:
    """Return the kind of a column with those values, and why it is left out."""
    if isinstance(known.dtype, pd.CategoricalDtype):
        known = known.astype(known.cat.categories.dtype)
    counts = known.value_counts(sort=False)
    unique = len(counts) == len(known) > 100
    if len(counts) < 2:
        return "drop", "it has a single value" if len(counts) else "it has no value"
    if name in ("user", "item"):
        return "categorical", ""
    if name == "timestamp" or pd.api.types.is_datetime64_any_dtype(known.dtype) or _are_dates(name, counts.index):
        return "time", ""
    if unique and _ID.search(name):
        return "drop", "each row has an id of its own"
    if _ID.search(name) or pd.api.types.is_bool_dtype(known.dtype):
        return "categorical", ""
    if pd.api.types.is_numeric_dtype(known.dtype):
        if len(counts) <= 20:
            return "categorical", ""
        if unique and (known.is_monotonic_increasing or known.is_monotonic_decreasing):
            return "drop", "it numbers the rows"
        return "numeric" if _are_quantities(counts) else "categorical", ""
    if hold_lists(known):
        return "multi", ""
    if len(counts) > 100 and len(counts) > 0.5 * len(known):
        return "drop", "nearly every row has another text"
    return "multi" if known.astype("str").str.contains("|", regex=False).mean() > 0.1 else "categorical", ""


def _are_quantities(counts: pd.Series) -> bool:
    """Return whether numbers, of which it is known how often each occurs, are plainly quantities."""
    values = counts.index.to_numpy(np.float64)
    order = np.argsort(values)
    values, often = values[order], counts.to_numpy()[order].astype(np.float64)
    if (values % 1 != 0).any() or values[0] < -1 or len(values) > often.sum() / 2:
        return True
    median = values[np.searchsorted(often.cumsum(), often.sum() / 2)]
    low = median - values[0] < (values[-1] - values[0]) / 4
    smooth = np.square(np.diff(often)).sum() <= 3 * (often[1:] + often[:-1]).sum()  # about once, by chance alone
    return bool(low and smooth)


def _are_dates(name: str, values: pd.Index) -> bool:
    """Return whether values are dates as ISO 8601 writes them, or moments since 1970 in a column named after time."""
    if pd.api.types.is_numeric_dtype(values.dtype):
        seconds = values.to_numpy(np.float64)
        units = [((seconds >= 5e8 * unit) & (seconds < 2.5e9 * unit)).all() for unit in (1, 1e3, 1e6, 1e9)]
        return bool(_TIME.search(name)) and len(values) > 20 and any(units)
    return bool(values.astype("str").str.match(r"\s*(19|20)\d\d-\d\d-\d\d([ T]|\s*$)").all())
