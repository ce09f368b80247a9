"""What a person can mend: one clear line each, shown without a traceback."""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from inspect import Parameter, signature
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints


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
    """Escape in a `text` what Markdown would take for a tag, a link, a picture or the end of a table's cell.

    >>> in_markdown("<script> a|b [x](y), p < 0.05")
    '&lt;script> a\\\\|b [x]\\\\(y), p < 0.05'
    """
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", printable(text)).replace("|", r"\|").replace("](", r"]\(")


def one_of(name: str, value: object, allowed: Iterable[str]) -> None:
    """Refuse a `value` of the argument `name` that is none of those allowed.

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


# ---- the values that arguments may have: declared once, in type hints, and checked when an object is made


class Range(NamedTuple):
    """The numbers from `low` to `high`, both included unless `above` (low) or `below` (high) leaves them out."""

    low: float
    high: float = math.inf
    above: bool = False
    below: bool = False

    def holds(self, number: Any) -> bool:
        """Return whether a number is one of them."""
        enough = number > self.low if self.above else number >= self.low
        return bool(enough and (number < self.high if self.below else number <= self.high))

    def describe(self) -> str:
        """Return the range in words, to be put behind `a number`."""
        if self.high == math.inf:
            return f"above {self.low:g}" if self.above else f"of at least {self.low:g}"
        low, high = (f"{end:,}" for end in (self.low, self.high))
        return f"above {low}, at most {high}" if self.above else f"from {low} to {'below ' * self.below}{high}"


Size = Annotated[int, Range(1, 10**6)]
"""A width, or how many of something there are in a model or for a row of a batch: memory must hold that many."""
Depth = Annotated[int, Range(1, 1000)]
Layers = Annotated[int, Range(0, 1000)]
"""How many layers, where none is possible."""
Count = Annotated[int, Range(1, 10**9)]
Whole = Annotated[int, Range(0, 10**9)]
Seed = Annotated[int, Range(0, 2**32 - 1)]
Positive = Annotated[float, Range(0, above=True)]
NonNegative = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, 1, below=True)]
"""A share that must leave something, as a dropout rate."""
Fraction = Annotated[float, Range(0, 1)]

_PLAIN: dict[Any, tuple[Callable[[Any], bool], str]] = {
    NoneType: (lambda value: value is None, "null"),
    bool: (lambda value: type(value).__name__ in ("bool", "bool_"), "true or false"),
    int: (lambda value: isinstance(value, Integral) and not isinstance(value, bool), "a whole number"),
    float: (lambda value: isinstance(value, Real) and not isinstance(value, bool) and _finite(value), "a number"),
    str: (lambda value: isinstance(value, str), "text"),
    Path: (lambda value: isinstance(value, os.PathLike), "a path"),
}


def _finite(number: Any) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an integer beyond every float
        return False


def fits(value: Any, hint: Any) -> bool:
    """Return whether a type hint allows a value: numbers are finite, and classes other than Python's are not asked."""
    kind, inner = get_origin(hint), get_args(hint)
    if hint in _PLAIN:
        return _PLAIN[hint][0](value)
    if kind is Annotated:
        return fits(value, inner[0]) and all(of.holds(value) for of in inner[1:] if isinstance(of, Range))
    if kind is Literal:
        return any(type(value) is type(one) and value == one for one in inner)
    if kind in (Union, UnionType):
        return any(fits(value, one) for one in inner)
    if kind in (list, tuple, Sequence):
        if isinstance(value, str) or not (isinstance(value, Sequence) or hasattr(value, "__array__")):
            return False
        if kind is tuple and inner[-1] is not ...:
            return len(value) == len(inner) and all(map(fits, value, inner))
        return all(fits(one, inner[0]) for one in value)
    if kind in (dict, Mapping):
        return isinstance(value, Mapping) and all(fits(one, inner[1]) for one in value.values())
    return True


def describe(hint: Any) -> str:
    """Return in words what a type hint allows."""
    kind, inner = get_origin(hint), get_args(hint)
    if hint in _PLAIN:
        return _PLAIN[hint][1]
    if kind is Annotated:
        return " ".join([describe(inner[0]), *(of.describe() for of in inner[1:] if isinstance(of, Range))])
    if kind is Literal:
        return " or ".join(map(str, inner))
    if kind in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(describe, inner)))
    if kind in (list, tuple, Sequence):
        return f"a list, each {describe(inner[0])}"
    if kind in (dict, Mapping):
        return "a mapping" if inner[1] is Any else f"a mapping, each {describe(inner[1])}"
    return getattr(hint, "__name__", str(hint))


def hints_of(function: Any) -> dict[str, Any]:
    """Return the type hints of the arguments of a class or a function; none where they name what cannot be imported."""
    if isinstance(function, type):
        function = function.__init__  # type: ignore[misc]  # of this class itself
    try:
        hints = get_type_hints(function, include_extras=True)
    except (NameError, TypeError):
        return {}
    several = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    return {p.name: hints[p.name] for p in signature(function).parameters.values()
            if p.name in hints and p.kind not in several}  # fmt: skip


def check(owner: str, arguments: Mapping[str, Any], hints: Mapping[str, Any]) -> None:
    """Refuse arguments that their type hints do not allow.

    Args:
        owner: What they are arguments of, for the message; nothing for options.
        arguments: Values by name.
        hints: Type hints by name; an argument without one may be anything.

    Raises:
        ConfigError: Names the argument, its value and what was expected.
    """
    for name, value in arguments.items():
        if name in hints and not fits(value, hints[name]):
            if type(value).__name__ == "NestedArg":  # jsonargparse's, of an option of an object that is not there
                told = f"{owner}.{name}".removeprefix(".")
                raise ConfigError(f"{told}: there is none that {value.key} could belong to; name its class, too")
            expected = describe(hints[name])
            near = did_you_mean(value, expected.split(" or ")) if isinstance(value, str) else ""
            raise ConfigError(f"{owner}.{name} is {shown(value)}{near}; expected {expected}".removeprefix("."))


def expect_tensor(by: object, method: str, value: Any, shape: Sequence[int], what: str) -> Any:
    """Return a `value` that a method of an object, which may be of one's own class, gave, if it has the right shape.

    Args:
        by: The object.
        method: The method's name.
        value: What it gave.
        shape: What a tensor was to have.
        what: What was expected, in words.

    Raises:
        ConfigError: Names class and method, what was given and what was expected.
    """
    found = tuple(value.shape) if hasattr(value, "requires_grad") else None  # NumPy's arrays have a shape, too
    if found != tuple(shape):
        told = f"a {type(value).__name__}" if found is None else f"the shape {found}"
        expected = f"a tensor of shape {tuple(shape)}, {what}"
        raise ConfigError(f"{type(by).__name__}.{method} gave {told}, expected {expected}")
    return value


def shown(value: Any) -> str:
    """Return a value as Python writes it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def checked(init: Callable[..., None]) -> Callable[..., None]:
    """Wrap a constructor `init` so that its arguments are checked before anything is made of them."""

    @wraps(init)
    def checking(self: Any, *args: Any, **kwargs: Any) -> None:
        given = signature(init).bind(self, *args, **kwargs)
        for p in given.signature.parameters.values():  # jsonargparse gives null for what has no type and is not given
            if p.annotation is p.default is p.empty and given.arguments.get(p.name, ...) is None:
                raise ConfigError(f"{type(self).__name__}.{p.name} is not given, and has no default")
        check(type(self).__name__, given.arguments, hints_of(init))
        init(self, *args, **kwargs)
        if hasattr(self, "named_parameters") and "_parameters" not in vars(self):  # of torch's modules
            raise ConfigError(f"{type(self).__name__}.__init__ does not begin with super().__init__(…)")

    return checking


class Checked:
    """A base of classes whose constructors refuse arguments that their type hints do not allow.

    >>> class Dice(Checked):
    ...     def __init__(self, sides: Size = 6):
    ...         self.sides = sides
    >>> Dice(sides=0)
    Traceback (most recent call last):
    recgnn.errors.ConfigError: Dice.sides is 0; expected a whole number from 1 to 1,000,000
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = checked(cls.__init__)  # type: ignore[method-assign]  # the same signature
