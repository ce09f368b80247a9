"""What a person can mend: one clear line each, shown without a traceback."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class RecGNNError(Exception):
    """A person's mistake; the message says in one line what was found where, and the remedy."""


class DataError(RecGNNError):
    """A file, a column, a row or an id is not what it should be."""


class ConfigError(RecGNNError):
    """An option has a value that cannot work."""


class RunError(RecGNNError):
    """A run cannot go on: a folder that cannot be written, a full disk, a broken run folder."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its class where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def printable(text: str) -> str:
    """Write control characters, line ends and what changes the direction of text as escapes, for a terminal.

    >>> printable("a\\x1b[31mb\\n")
    'a\\\\x1b[31mb\\\\n'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def in_markdown(text: str) -> str:
    """Escape what Markdown would take for a tag, a link, a picture or the end of a table's cell.

    >>> in_markdown("<script> a|b [x](y), p < 0.05")
    '&lt;script> a\\\\|b [x]\\\\(y), p < 0.05'
    """
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", printable(text)).replace("|", r"\|").replace("](", r"]\(")


def one_of(name: str, value: object, allowed: Iterable[str]) -> None:
    """Refuse a value that is none of those allowed.

    Raises:
        ConfigError: with the nearest.
    """
    allowed = tuple(allowed)
    if value not in allowed:
        raise ConfigError(f"{name} is {value!r}{did_you_mean(str(value), allowed)}; expected {' or '.join(allowed)}")


def did_you_mean(name: object, known: Iterable[object]) -> str:
    """The nearest known name as a hint, `" (did you mean 'rating'?)"`, or nothing when none is
    near.

    Args:
        name: What was asked for.
        known: The names there are.
    """
    names = {str(k).casefold(): str(k) for k in known}
    near = difflib.get_close_matches(str(name).casefold(), list(names), n=1, cutoff=0.55)
    return f" (did you mean '{names[near[0]]}'?)" if near else ""


def nearest_names(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The known names with the fewest edits to a name; numbers in them are compared without leading zeros.

    >>> nearest_names("u002", ["u1002", "u0001", "u0002"], count=2)
    ['u0002', 'u0001']
    """
    close = difflib.get_close_matches(name, known, n=50, cutoff=0.5)
    short = {text: re.sub(r"(?<!\d)0+(?=\d)", "", text) for text in (name, *close)}
    return sorted(close, key=lambda other: (_edits(short[name], short[other]), _edits(name, other)))[:count]


def _edits(one: str, other: str) -> int:
    """Levenshtein's distance."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]
