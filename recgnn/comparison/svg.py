"""Charts as SVG text: axes, lines, markers and bars, with classes for colours and data for tooltips."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

SHAPES = (  # of markers, about 10 wide around 0, 0
    "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0Z",
    "M-4 -4H4V4H-4Z",
    "M0 -5.2L5 3.8H-5Z",
    "M0 -5.6L4.8 0L0 5.6L-4.8 0Z",
    "M0 5.2L5 -3.8H-5Z",
    "M-1.7 -5H1.7V-1.7H5V1.7H1.7V5H-1.7V1.7H-5V-1.7H-1.7Z",
    "M0 -5.4L1.5 -1.8L5.3 -1.6L2.3 0.8L3.3 4.6L0 2.4L-3.3 4.6L-2.3 0.8L-5.3 -1.6L-1.5 -1.8Z",
)
COLOURS, DASHES = 7, 3


class Scale:
    """From values to places.

    Args:
        low, high: the values to hold; for `log`, above 0.
        start, stop: their places.
        log: logarithmic.
        exact: the axis ends at `low` and `high`, and has no room beyond.
    """

    def __init__(self, low: float, high: float, start: float, stop: float, log: bool = False, exact: bool = False):
        self.log, self.start, self.stop = log, start, stop
        low, high = self._of(low), self._of(high)
        room = 0.0 if exact else (high - low) * 0.06 or max(abs(high) * 0.1, 0.1)
        self.low, self.high = low - room, high + room

    def _of(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def __call__(self, value: float) -> float:
        return self.start + (self._of(value) - self.low) / (self.high - self.low) * (self.stop - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Round values, at most about `most` of them."""
        if self.log:
            found = [m * 10.0**e for e in range(math.floor(self.low), math.ceil(self.high) + 1) for m in (1, 2, 5)]
            found = [value for value in found if self.low <= math.log10(value) <= self.high]
            tens = [value for value in found if math.isclose(math.log10(value), round(math.log10(value)))]
            if len(found) > most and len(tens) > 1:
                return tens
            if len(found) > 2:
                return found
        low, high = (10**self.low, 10**self.high) if self.log else (self.low, self.high)
        step = 10 ** math.floor(math.log10((high - low) / most))
        step *= next(m for m in (1, 2, 5, 10) if (high - low) / (m * step) <= most)
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        return [round(i * step, 12) for i in range(first, last + 1)]


def number(value: float) -> str:
    """A value in few signs: 0.2727, 12.5, 3,600."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


class Chart:
    """A figure of one pair of axes, as SVG.

    Args:
        title: what it shows.
        width, height: in its own units, which are pixels at full size.
        left: room for what stands at the axis.
        bottom: room below.
        note: a remark under the title.
    """

    RIGHT, TOP = 14, 12

    def __init__(
        self,
        title: str,
        width: int = 440,
        height: int = 300,
        left: int = 62,
        bottom: int = 46,
        note: str = "",
    ):
        self.title, self.note, self.width, self.height = title, note, width, height
        self.x0, self.x1 = left, width - self.RIGHT
        self.y0, self.y1 = height - bottom, self.TOP
        self.parts: list[str] = []

    def text(self, x: float, y: float, words: str, kind: str = "tick", anchor: str = "middle", turn: int = 0) -> None:
        """Words at a place."""
        turned = f' transform="rotate({turn} {x:.1f} {y:.1f})"' if turn else ""
        self.parts.append(
            f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turned}>{escape(words)}</text>'
        )

    def rule(self, x0: float, y0: float, x1: float, y1: float, kind: str = "grid") -> None:
        """A straight line."""
        self.parts.append(f'<line class="{kind}" x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"/>')

    def x_axis(self, scale: Scale, name: str, whole: bool = False) -> None:
        """Ticks and their lines for a scale, of `whole` numbers alone."""
        for value in scale.ticks():
            if whole and value != round(value):
                continue
            place = scale(value)
            self.rule(place, self.y0, place, self.y1)
            self.text(place, self.y0 + 17, number(value))
        self._x_name(name)

    def x_names(self, names: Sequence[str], below: Sequence[str], name: str) -> list[float]:
        """Categories instead of values, with a second line of text each; their places."""
        step = (self.x1 - self.x0) / len(names)
        places = [self.x0 + step * (i + 0.5) for i in range(len(names))]
        shown = max(1, math.ceil(max(map(len, names)) * 6.6 / step))
        for i, (place, words, more) in enumerate(zip(places, names, below, strict=True)):
            if i % shown == 0:
                self.text(place, self.y0 + 16, words)
                if more and shown == 1:
                    self.text(place, self.y0 + 28, more, "small")
        self._x_name(name)
        return places

    def _x_name(self, name: str) -> None:
        self.rule(self.x0, self.y0, self.x1, self.y0, "axis")
        self.text((self.x0 + self.x1) / 2, self.height - 5, name, "name")

    def y_axis(self, scale: Scale, name: str) -> None:
        """Ticks and their lines for a scale."""
        for value in scale.ticks():
            place = scale(value)
            self.rule(self.x0, place, self.x1, place)
            self.text(self.x0 - 7, place + 4, number(value), anchor="end")
        self.text(14, (self.y0 + self.y1) / 2, name, "name", turn=-90)

    def curve(self, line: int, points: Sequence[tuple[float, float]], tips: Sequence[str]) -> None:
        """A line through points, which the pointer finds."""
        at = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(
            f'<polyline class="curve {look(line)}" data-line="{line}" data-tips="{escape("|".join(tips))}" '
            f'points="{at}"/>'
        )

    def marker(self, line: int, x: float, y: float, tip: str, size: float = 1.0, open_: bool = False) -> None:
        """A marker of the line's shape."""
        kind = "mark open" if open_ else "mark"
        self.parts.append(
            f'<path class="{kind} {look(line)}" data-line="{line}" data-x="{x:.1f}" data-y="{y:.1f}" '
            f'data-tip="{escape(tip)}" transform="translate({x:.1f} {y:.1f}) scale({size:g})" d="{shape(line)}"/>'
        )

    def bar(self, line: int, x: float, y: float, width: float, height: float) -> None:
        """A filled rectangle."""
        self.parts.append(
            f'<rect class="bar {look(line)}" data-line="{line}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" '
            f'height="{height:.1f}"/>'
        )

    def whisker(self, line: int, x0: float, x1: float, y: float) -> None:
        """A spread, from x0 to x1."""
        self.parts.append(
            f'<path class="whisker" data-line="{line}" d="M{x0:.1f} {y - 5:.1f}v10M{x0:.1f} {y:.1f}H{x1:.1f}'
            f'M{x1:.1f} {y - 5:.1f}v10"/>'
        )

    def html(self) -> str:
        """The figure with its title."""
        note = f"<small>{escape(self.note)}</small>" if self.note else ""
        return (
            f'<figure><figcaption>{escape(self.title)}{note}</figcaption><svg viewBox="0 0 {self.width} {self.height}" '
            f'role="img" aria-label="{escape(self.title)}">{"".join(self.parts)}</svg></figure>'
        )


def look(line: int) -> str:
    """The classes of a line's colour and dashes."""
    return f"c{line % COLOURS} d{line // COLOURS % DASHES}"


def shape(line: int) -> str:
    """The marker of a line; another one where colours come again."""
    return SHAPES[(line + line // COLOURS) % len(SHAPES)]
