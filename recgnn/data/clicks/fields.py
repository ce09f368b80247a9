"""What the fields of an event are: declared in the configuration, or guessed from the table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from recgnn.data.clicks.evidence import FAR, are_times, evidence_of, why_texts
from recgnn.data.readers.lists import hold_lists, hold_objects
from recgnn.data.readers.origin import need_columns
from recgnn.data.readers.times import UNSAID, Written
from recgnn.errors import ConfigError, Count, DataError, Size, check, describe, did_you_mean, hints_of

_ID = re.compile(
    r"(?i)(?:ids?|codes?|sku|isbn|asin|ean|upc|gtin|barcode|hash|uuid|guid|zip|zip_?code|post_?code|postal_?code|plz|"
    r"customer|client|member|visitor|product|movie|film|book|song|artist|track|album|article|campaign|creative|phone|"
    r"advertiser|publisher|brand|category|shop|store|seller|merchant|venue|poi|device|ip|[cdginopqstuv]id)$"
)
"""Last words of names that say that values are names of something, besides all that end in `id` and are no word."""
_NO_ID = re.compile(
    r"(?i)(?:.*paid|(?:max|min|avg|mean|last|first|re|win|winning|high|highest|current|start)?bid|valid|invalid|grid|"
    r"mid|aid|raid|kid|void|avoid|solid|liquid|fluid|acid|lipid|humid|rapid|rigid|hybrid|android|covid|centroid|"
    r"thyroid|steroid|said|laid|amid|maid|orchid)$"
)
_AMOUNT = re.compile(
    r"(?i)(?:prices?|amount|cost|revenue|sales|income|salary|balance|budget|count|cnt|num|number|total|sum|qty|quantity|"
    r"ages?|duration|length|len|size|score|ratings?|rank|position|pos|views|clicks|impressions|likes|votes|visits|days|"
    r"hours|minutes|seconds|secs|ms|weeks|months|years?|distance|weight|height|width|area|temperature|humidity|speed|"
    r"rate|ratio|percent|pct|freq|frequency|recency|paid|bid|discount|stars)$"
)
"""Last words of names of quantities."""
_ROW = re.compile(r"(?i)(?:id|index|row|row_?(?:id|no|nr|num|number)|unnamed.*)$")
_TIME = re.compile(r"time|date|(^|_)(ts|at)$", re.IGNORECASE)
Kind = Literal["categorical", "numeric", "multi", "time", "vector", "drop"]
TimePart = Literal["hour", "weekday", "weekend", "month"]


@dataclass
class Field:
    """How one column of the events becomes features: categories, each with a number x, which is 1 unless said.

    Args:
        kind: `categorical`, one of many values; `numeric`; `multi`, several values in a list or in one text, as genres;
            `time`, moments in any notation, of which each part becomes a field; `vector`, ids whose vectors are given;
            `drop`, left out.
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
            deviations; `log`, the same of sign(x) ln(1 + |x|); `linear`, times the value as it is; `log2`, the category
            floor(ln(x)^2) of x > 2, else int(x), as Criteo's; `quantile`, the category of about equally many values.
        binned: numeric, `standard`, `log`, `linear`: whether the number has the category `quantile` beside it, as a
            second field `<column>.bins`.
        bins: numeric, `quantile` or binned: how many categories.
        parts: time: `hour`, `weekday`, `weekend`, `month`, each a categorical field, in UTC.
        time_format: time: how the moments are written (see `Written`); None: as the source says, or found out.
        time_unit: time: of numbers, likewise.
        time_zone: time: of moments that name none, likewise.
        vectors: vector; or categorical, which has a second field `<column>.vectors` beside it then: where the vectors
            come from: a run of a recommender, for columns user and item; a Parquet file of ids (`id`, or named as the
            column) and lists of numbers (`vector`) or columns of numbers; or a .npz file of arrays `ids` and `vectors`.
            Every model gets them by a learnt linear map to the width of its own vectors.
        trained: vectors: whether they are trained on; else they stay as they are.
        missing: vectors: what ids without one share: a `learnt` vector, or `zero`.
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
    transform: Literal["standard", "log", "linear", "log2", "quantile"] = "standard"
    binned: bool = False
    bins: Size = 32
    parts: list[TimePart] = field(default_factory=lambda: ["hour", "weekday", "weekend"])
    time_format: str | None = None
    time_unit: str | None = None
    time_zone: str | None = None
    vectors: str | None = None
    trained: bool = False
    missing: Literal["learnt", "zero"] = "learnt"

    def check(self, column: str) -> None:
        """Refuse options that cannot be; not when it is made, since a parser that tries types would hide the reason.

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
        if self.binned and (self.kind != "numeric" or self.transform in ("log2", "quantile")):
            raise ConfigError(
                f"fields: {column}: binned puts categories beside a number, found kind {self.kind}, transform "
                f"{self.transform}; take kind numeric with transform standard, log or linear"
            )
        if (self.kind == "vector") > (self.vectors is not None) or (
            self.vectors is not None and (self.kind not in ("vector", "categorical") or self.buckets or self.values)
        ):
            raise ConfigError(
                f"fields: {column}: vectors is {self.vectors} of kind {self.kind}; expected a run folder or a file, of "
                "kind vector, or categorical without buckets and values"
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
        """Return the declaration as plain values."""
        return asdict(self)


def as_field(given: str | dict | Field, name: str) -> Field:
    """Return a field from its declaration: `given` is a kind, or a mapping with one; `name` is for errors.

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
    """Return the fields declared in `given`, each of which must be one of `columns`, as must be that of its numbers.

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


class Guess(NamedTuple):
    """The fields of a table by column, why other columns are none, and why numbers are what they are taken for."""

    fields: dict[str, Field]
    left_out: dict[str, str]
    reasons: dict[str, str]


def guess(frame: pd.DataFrame, excluded: set[str], labels: np.ndarray | None = None) -> Guess:
    """Return a field for each column of the training events, by its name and values, and why others are left out.

    - `user`, `item` and names that end in id or say as much (`userId`, `ad_id`, `zip`, `brand`) are categorical,
      whatever their values; where each row has another one, those that come twice in train have a row of the table.
    - `timestamp`, dates, and moments in a column whose name says so are times; so are texts of more than 100 moments.
    - Numbers of at most 20 values are categorical; fractions of more are numeric.
    - Integers of more are categorical, unless they are plainly quantities (see `_as_number`).
    - Text is multi-valued where most rows are lists, or a tenth have the separator |, else categorical.
    - What has one value, numbers the rows, or is text that is another one in (nearly) every row, is left out.

    Args:
        frame: Events of train.
        excluded: Columns that are no fields.
        labels: Of these events, [n]; None where they are not known, as for sampled ones.

    Raises:
        DataError: Where no column can be a field.
    """
    found = Guess({}, {}, {})
    for name in frame.columns:
        if name not in excluded:
            known = frame[name].dropna()
            own = None if labels is None else labels[frame[name].notna().to_numpy()]
            field, why = _guess(str(name), known, own)
            if field.kind != "drop":
                found.fields[name] = field
            if why:
                (found.left_out if field.kind == "drop" else found.reasons)[name] = why
    if not found.fields:
        raise DataError("no column of the events can be a field; declare them (data.init_args.fields)")
    return found


def _guess(name: str, known: pd.Series, labels: np.ndarray | None) -> tuple[Field, str]:
    """Return the field of a column with those values, and why it is that, where there is a choice."""
    if isinstance(known.dtype, pd.CategoricalDtype):
        known = known.astype(known.cat.categories.dtype)
    counts = known.value_counts(sort=False)
    unique = len(counts) == len(known) > 100
    if len(counts) < 2:
        return Field("drop"), "it has a single value" if len(counts) else "it has no value"
    if name in ("user", "item"):
        return Field(), ""
    if name == "timestamp" or pd.api.types.is_datetime64_any_dtype(known.dtype) or _are_dates(name, counts.index):
        return Field("time"), ""
    number = pd.api.types.is_numeric_dtype(known.dtype) and not pd.api.types.is_bool_dtype(known.dtype)
    if number and unique and (known.is_monotonic_increasing or known.is_monotonic_decreasing):
        if _ROW.match(name) or not is_id(name):
            return Field("drop"), "it numbers the rows"
    if is_id(name):
        return (Field(min_count=2), "each row looked at has another one") if unique else (Field(), "")
    if pd.api.types.is_bool_dtype(known.dtype) or (number and len(counts) <= 20):
        return Field(), ""
    if number:
        return _as_number(name, known.to_numpy(np.float64), counts, labels)
    if hold_lists(known):
        return Field("multi"), ""
    if hold_objects(known):
        return Field("drop"), "it holds objects"
    if len(counts) > 100 and len(counts) > 0.5 * len(known):
        return (Field("time"), "") if are_times(counts.index) else (Field("drop"), why_texts(counts.index))
    return Field("multi" if known.astype("str").str.contains("|", regex=False).mean() > 0.1 else "categorical"), ""


def last_word(name: str) -> str:
    """Return the last word of a column's name.

    >>> [last_word(name) for name in ("userId", "ad_id", "item-id", "ID", "zip code", "C14", "totalpaid")]
    ['Id', 'id', 'id', 'ID', 'code', 'C14', 'totalpaid']
    """
    return re.split(r"[\W_]+|(?<=[a-z0-9])(?=[A-Z])", name.strip(" _"))[-1]


def is_id(name: str) -> bool:
    """Return whether a column's name says that its values are names of something, as `userId`, `ad_id` and `zip` do.

    >>> [name for name in ("userId", "ad_id", "item-id", "ID", "videoid", "paid", "bid", "humidity") if is_id(name)]
    ['userId', 'ad_id', 'item-id', 'ID', 'videoid']
    """
    word = last_word(name)
    return bool(_ID.match(word) or (re.search(r"(?i)ids?$", word) and not _NO_ID.match(word)))


def _as_number(name: str, numbers: np.ndarray, counts: pd.Series, labels: np.ndarray | None) -> tuple[Field, str]:
    """Return the field of a column of more than 20 numbers, and why it is that.

    Integers are a quantity where their order predicts the label of held-out events plainly better than each value's own
    rate does, and categories where it is the other way round (see `evidence_of`). Where neither is plain, the name
    decides, or how they are spread: some are below -1; or there is one for hardly two rows; or most rows lie in the
    lowest quarter of the range, and neighbouring values are about equally frequent or larger ones are rarer, as with
    counts, prices and durations, and not with ids. A quantity has bins beside it where these predict better than the
    number, or where no labels can tell.
    """
    finite = np.isfinite(numbers)
    found = None if labels is None else evidence_of(numbers[finite], labels[finite])
    if (numbers[finite] % 1 != 0).any():
        why = "fractions"
    elif found is not None and found.names:
        return Field(), "each value tells more than the order"
    elif found is not None and found.order:
        why = "the order tells more than each value"
    elif _AMOUNT.match(last_word(name)):
        why = "a quantity by its name"
    elif _are_quantities(counts):
        why = "spread as quantities are"
    else:
        return Field(), "integers that are not plainly a quantity"
    if found is None:
        spread = np.abs(numbers[finite] - numbers[finite].mean()).max() > FAR * numbers[finite].std()
        return Field("numeric", transform="log" if spread else "standard", binned=True, bins=16), why
    more: dict[str, Any] = {"binned": True, "bins": found.bins} if found.binned else {}
    return Field("numeric", transform="log" if found.logarithm else "standard", **more), why


def _are_quantities(counts: pd.Series) -> bool:
    """Return whether integers, of which it is known how often each occurs, are spread as quantities are."""
    values = counts.index.to_numpy(np.float64)
    order = np.argsort(values)
    values, often = values[order], counts.to_numpy()[order].astype(np.float64)
    if -(2**24) < values[0] < -1 or len(values) > often.sum() / 2:  # far below are hashes
        return True
    median = values[np.searchsorted(often.cumsum(), often.sum() / 2)]
    low = median - values[0] < (values[-1] - values[0]) / 4
    smooth = np.square(np.diff(often)).sum() <= 3 * (often[1:] + often[:-1]).sum()  # about once, by chance alone
    return bool(low and (smooth or pd.Series(often).corr(pd.Series(values), "spearman") < -0.7))


def _are_dates(name: str, values: pd.Index) -> bool:
    """Return whether values are dates as ISO 8601 writes them, or moments since 1970 in a column named after time."""
    if pd.api.types.is_numeric_dtype(values.dtype):
        seconds = values.to_numpy(np.float64)
        units = [((seconds >= 5e8 * unit) & (seconds < 2.5e9 * unit)).all() for unit in (1, 1e3, 1e6, 1e9)]
        return bool(_TIME.search(name)) and len(values) > 20 and any(units)
    return bool(values.astype("str").str.match(r"\s*(19|20)\d\d-\d\d-\d\d([ T]|\s*$)").all())
