"""Ids of users and items: exact at any length, and read alike wherever they come from."""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recgnn.data.readers.lists import hold_lists
from recgnn.data.readers.origin import Origin, shown
from recgnn.data.readers.values import INT64, NULLS, as_text
from recgnn.errors import DataError

_INVISIBLE = re.compile("[\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
_INTEGER = r"^[+-]?[0-9]+(\.0*)?$"


def clean_ids(ids: pd.Series, column: str, origin: Origin) -> pd.Series:
    """Return the ids of a log as int64 (integers and whole floats) or as str (trimmed text).

    Raises:
        DataError: Names the place of a missing id (among whole numbers also NA, null and the like), of one that is
            neither, or of one that differs from another by blanks only.
    """
    if isinstance(ids.dtype, pd.CategoricalDtype):
        ids = ids.astype(ids.cat.categories.dtype)
    if isinstance(ids.dtype, pd.ArrowDtype):
        ids = ids.astype(object)
    if ids.dtype == object:
        ids = ids.infer_objects()
    null = ids.isna().to_numpy()
    if not null.any() and isinstance(ids.dtype, pd.StringDtype):
        ids = _trimmed(ids, column, origin)
        null = (ids.str.len() == 0).to_numpy(bool)
    if null.any():
        raise DataError(f"{origin.at(int(null.argmax()), column)}: no {column} id; remove the row or fill it in")
    if isinstance(ids.dtype, pd.StringDtype):
        if hold_lists(ids.iloc[:1000]):
            raise DataError(f"{origin.at(0, column)}: {shown(ids.iloc[0])} is a list; expected one {column} a row")
        word = ids.isin(NULLS).to_numpy(bool)
        if word.any() and ids[~word].str.fullmatch(_INTEGER).all():
            row = int(word.argmax())
            raise DataError(
                f"{origin.at(row, column)}: {ids.iloc[row]!r} among whole numbers is no {column} id; remove the row or "
                "fill it in"
            )
        return ids.astype("str")
    if pd.api.types.is_bool_dtype(ids.dtype):
        kind = "true or false"
    elif pd.api.types.is_integer_dtype(ids.dtype):
        large = pd.api.types.is_unsigned_integer_dtype(ids.dtype) and len(ids) and int(ids.max()) > INT64.max
        return ids.astype("str" if large else np.int64)
    elif pd.api.types.is_float_dtype(ids.dtype):
        values = ids.to_numpy(np.float64)
        broken = ~_whole(values)
        if not broken.any():
            return ids.astype(np.int64)
        row = int(broken.argmax())
        raise DataError(f"{origin.at(row, column)}: {values[row]} is no id; expected whole numbers or text")
    elif ids.dtype == object:
        return _of_objects(ids, column, origin)
    else:
        kind = str(ids.dtype)
    raise DataError(f"{origin.at(0, column)}: ids of type {kind}; expected integers or strings")


def told_twins(ids: pd.Series, column: str) -> tuple[str, ...]:
    """Return a line about clean ids that look like another one by invisible characters or forms of Unicode, or none."""
    text = isinstance(ids.dtype, pd.StringDtype)
    if not text or pc.all(pc.string_is_ascii(pa.array(ids, pa.large_string()))).as_py():
        return ()
    names = pd.Series(ids.unique(), dtype="str")
    seen = names.map(lambda name: name if name.isascii() else _INVISIBLE.sub("", unicodedata.normalize("NFKC", name)))
    twins = names[seen.duplicated(keep=False)]
    if not len(twins):
        return ()
    one, other = twins[seen[twins.index] == seen[twins.index[0]]].iloc[:2]
    told = f"{len(twins):,} of {len(names):,} {column}s look like another one and count apart"
    return (f"{told}, such as {ascii(one)} and {ascii(other)}",)


def known_ids(ids: pd.Series, integer: bool) -> pd.Series:
    """Return raw ids in the type of known ones: int64, or Int64 or string with NA for values that cannot be such an id.

    Args:
        ids: Numbers or text of any kind.
        integer: Whether the known ids are integers; `7`, `7.0`, `007` and `+7` then mean the same.
    """
    if not integer:
        return as_text(ids)
    if isinstance(ids.dtype, pd.CategoricalDtype):
        ids = ids.astype(ids.cat.categories.dtype)
    if pd.api.types.is_bool_dtype(ids.dtype):
        return pd.Series(pd.NA, index=ids.index, dtype="Int64")
    if pd.api.types.is_integer_dtype(ids.dtype):
        if pd.api.types.is_unsigned_integer_dtype(ids.dtype):
            ids = ids.mask(ids > INT64.max)
        return ids.astype("Int64" if ids.isna().any() else "int64")
    if pd.api.types.is_float_dtype(ids.dtype):
        values = ids.to_numpy(np.float64, na_value=np.nan)
        whole = _whole(values)
        found = pd.Series(np.where(whole, values, 0).astype(np.int64), index=ids.index)
        return found if whole.all() else found.astype("Int64").mask(~whole)
    return _integers(ids)


def ids_as(ids: pd.Series, integer: bool) -> pd.Series:
    """Return the ids of a table as `known_ids`, NA also for another writing of one: 01 is 1 only where 1 has no row."""
    found = known_ids(ids, integer)
    written = ids.astype("string") == found.astype("string")
    return found.mask(~(written | ~found.duplicated(keep=False)).fillna(False).astype(bool))


def _integers(ids: pd.Series) -> pd.Series:
    """Return texts as Int64, exactly; NA where one is no integer of 64 bits."""
    text = pa.array(as_text(ids), type=pa.string(), from_pandas=True)
    text = pc.if_else(pc.match_substring_regex(text, _INTEGER), text, None)
    digits = pc.replace_substring_regex(text, r"\.0*$", "")
    digits = pc.replace_substring_regex(digits, r"^\+?(-?)0*([0-9])", r"\1\2")
    short = pc.less(pc.utf8_length(digits), 19)
    found = pc.if_else(short, digits, None).cast(pa.int64()).to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    for row in np.flatnonzero(pc.fill_null(pc.and_(pc.invert(short), pc.less(pc.utf8_length(digits), 21)), False)):
        value = int(digits[int(row)].as_py())
        if INT64.min <= value <= INT64.max:
            found.iloc[int(row)] = value
    return found.set_axis(ids.index)


def _whole(values: np.ndarray) -> np.ndarray:
    """Return which floats are integers that no other integer is rounded to."""
    return np.isfinite(values) & (values == np.floor(values)) & (np.abs(values) < 2**53)


def _trimmed(ids: pd.Series, column: str, origin: Origin) -> pd.Series:
    """Ids without blanks around them; two that differ only in those are refused."""
    values = pa.chunked_array(pa.array(ids, type=pa.large_string(), from_pandas=True))
    trimmed = pc.utf8_trim_whitespace(values)
    changed = pc.not_equal(trimmed, values)
    if not pc.any(changed).as_py():
        return ids
    padded = pc.unique(values.filter(changed))
    others = pc.unique(values.filter(pc.invert(changed)))
    clean = pc.utf8_trim_whitespace(padded)
    twin = pc.is_in(clean, others).to_numpy(zero_copy_only=False)
    twin |= pd.Series(clean.to_numpy(zero_copy_only=False)).duplicated().to_numpy()
    if twin.any():
        one = padded[int(twin.argmax())].as_py()
        row = int((ids == one).to_numpy(bool).argmax())
        raise DataError(f"{origin.at(row, column)}: {one!r} differs from another id by blanks only; make them one")
    return pd.Series(trimmed.to_pandas().to_numpy(object), index=ids.index, dtype=ids.dtype)


def _of_objects(ids: pd.Series, column: str, origin: Origin) -> pd.Series:
    """Return integers beyond 64 bits as text; a mix of types is refused."""
    text = ids.map(lambda v: isinstance(v, str)).to_numpy(bool)
    if text.all():
        return clean_ids(ids.astype("str"), column, origin)
    whole = ids.map(lambda v: isinstance(v, int | np.integer) and not isinstance(v, bool)).to_numpy(bool)
    if whole.all():
        exact = all(INT64.min <= int(v) <= INT64.max for v in ids)
        return ids.astype(np.int64) if exact else ids.map(lambda v: f"{int(v):d}").astype("str")
    row = int((text != text[0]).argmax()) if text.any() else int((~whole).argmax())
    among = f" among {type(ids.iloc[0]).__name__}" if row else ""
    raise DataError(
        f"{origin.at(row, column)}: {type(ids.iloc[row]).__name__} {shown(ids.iloc[row])}{among}; expected integers "
        "or strings, not a mix"
    )
