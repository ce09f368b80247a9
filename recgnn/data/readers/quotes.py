"""Where the quoted fields of separated text begin and end, and quotes that cannot be meant (text.py: unclosed)."""

from __future__ import annotations

import csv
import re
from typing import NamedTuple

import numpy as np

QUOTE, NEWLINE, RETURN = b'"'[0], b"\n"[0], b"\r"[0]


class QuoteError(Exception):
    """A quote that cannot be meant.

    Args:
        at: Position of the quote that opens the field.
        why: What is wrong, for the message.
    """

    def __init__(self, at: int, why: str) -> None:
        super().__init__(why)
        self.at, self.why = at, why


class QuotedFields(NamedTuple):
    """The quoted fields of a text.

    Shapes:
        starts: `[n]` positions of the opening quotes, ascending.
        ends: `[n]` positions of the closing quotes; of the last one the text's length if it is still open.
        open_at: The position of an opening quote that is not closed, or None.
        problem: The first field whose closing quote is followed by text; nothing behind it has been looked at.
    """

    starts: np.ndarray
    ends: np.ndarray
    open_at: int | None = None
    problem: QuoteError | None = None

    def holds(self, positions: np.ndarray) -> np.ndarray:
        """Return which positions lie inside a quoted field, `[m]` bool."""
        field = np.searchsorted(self.starts, positions, side="right") - 1
        inside = field >= 0
        inside[inside] = positions[inside] < self.ends[field[inside]]
        return inside


def quoted_fields(text: bytes, separator: str) -> QuotedFields:
    """Find the quoted fields of a text that begins outside of one.

    A quote opens a field only right after a separator or a line end; elsewhere in an unquoted field it is a character
    like others. Inside a quoted field two quotes stand for one.
    """
    data = np.frombuffer(text, dtype=np.uint8)
    at = np.flatnonzero(data == QUOTE)
    delimits = np.zeros(256, dtype=bool)
    delimits[[ord(separator), NEWLINE, RETURN]] = True
    first, second = at[0::2], at[1::2]  # where no quote stands inside an unquoted field they open and close
    before, after = data[first - 1], data[np.minimum(second + 1, len(data) - 1)]
    before[0] = NEWLINE if at[0] == 0 else before[0]
    if len(second) == len(first) and at[-1] == len(data) - 1:
        after[-1] = NEWLINE
    again, followed = before == QUOTE, after == QUOTE  # two adjacent quotes inside a field stand for one
    if not ((delimits[before] | again).all() and (delimits[after] | followed).all()):
        opens = np.append(True, delimits[data[at[1:] - 1]]) if at[0] == 0 else delimits[data[at - 1]]
        closes = delimits[data[np.minimum(at + 1, len(data) - 1)]] | (at == len(data) - 1)
        return _one_by_one(at, opens, closes, len(text))
    starts = first[~again] if again.any() else first
    ends = second[~followed] if followed.any() else second
    if len(starts) == len(ends):
        return QuotedFields(starts, ends)
    return QuotedFields(starts, np.append(ends, len(text)), int(starts[-1]))


def _one_by_one(at: np.ndarray, opens: np.ndarray, closes: np.ndarray, length: int) -> QuotedFields:
    """Return the same where quotes stand inside unquoted fields too, or where something is wrong."""
    starts: list[int] = []
    ends: list[int] = []
    open_at, skip, problem = None, -1, None
    positions, may_open, may_close = at.tolist(), opens.tolist(), closes.tolist()
    for number, position in enumerate(positions):
        if position == skip:
            continue
        if open_at is None:
            if may_open[number]:
                open_at = position
        elif number + 1 < len(positions) and positions[number + 1] == position + 1:
            skip = position + 1
        elif may_close[number]:
            starts.append(open_at)
            ends.append(position)
            open_at = None
        else:
            problem = QuoteError(open_at, "a quoted field has text behind its closing quote")
            break
    if open_at is not None:
        starts.append(open_at)
        ends.append(length)
    found = np.array(starts, dtype=np.int64), np.array(ends, dtype=np.int64)
    return QuotedFields(*found, open_at, problem)


def check_no_rows_inside(text: bytes, fields: QuotedFields, ends: np.ndarray, separator: str, columns: int) -> bool:
    """Return whether any quoted field holds a line end, and refuse fields that have swallowed rows.

    A quote that was never closed can end at a quote many rows later, in a field of the same column. Such a field holds
    as many line ends and separators as rows have, and its pieces look like the row that it stands in.

    Args:
        text: Whole records.
        fields: Their quoted fields.
        ends: Positions of all line ends, `[m]`.
        separator: Of the fields.
        columns: How many there are.

    Raises:
        QuoteError: For the first such field.
    """
    if not fields.holds(ends).any():
        return False
    lines = np.searchsorted(ends, fields.ends) - np.searchsorted(ends, fields.starts)
    several = np.flatnonzero(lines if columns > 1 else np.zeros(0))
    separators = np.flatnonzero(np.frombuffer(text, dtype=np.uint8) == ord(separator))
    held = np.searchsorted(separators, fields.ends[several]) - np.searchsorted(separators, fields.starts[several])
    for number in several[held == lines[several] * (columns - 1)].tolist():
        start, end = int(fields.starts[number]), int(fields.ends[number])
        first = int(ends[np.searchsorted(ends, start) - 1]) + 1 if start > ends[0] else 0
        last = np.searchsorted(ends, end)
        stop = int(ends[last]) if last < len(ends) else len(text)
        if _like_rows(text[first:start], text[start + 1 : end], text[end + 1 : stop], separator, columns):
            count = int(lines[number])
            rows = f"{count} line end{'s' * (count > 1)} and separators as if it held {count + 1} rows"
            raise QuoteError(start, f"a quoted field holds {rows}")
    return True


def _like_rows(before: bytes, inside: bytes, behind: bytes, separator: str, columns: int) -> bool:
    """Return whether the lines of a quoted field, with the text around it in its row, look like rows of one table."""
    first, *others = re.split(rb"\r\n|\n|\r", inside)
    lines = [before + first, *others]
    lines[-1] += behind
    rows = [_fields(line, separator) for line in lines]
    if any(len(row) != columns for row in rows):
        return False
    place = len(_fields(before, separator)) - 1
    for column in range(columns):
        kinds = {_is_number(row[column]) for row in rows if row[column].strip()}
        if column != place and len(kinds) > 1:
            return False
    return True


def _fields(line: bytes, separator: str) -> list[str]:
    text = " ".join(re.split("[\r\n]", line.decode("utf-8", "replace")))
    return next(csv.reader([text], delimiter=separator), [""])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
