"""A chart of the page: a matplotlib figure as SVG inside the page, which shows its values on hover."""

from __future__ import annotations

import io
import re
from typing import Any
from xml.etree import ElementTree

from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from recgnn.evaluation.figures import INK, frame

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#444444", "#b07d00", "#56b4e9", "#882255", "#7f9f00", "#6a3d9a",
           "#a0522d", "#e7298a")  # fmt: skip
MARKERS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚", "*": "★"}  # matplotlib's, and for the legend
DASHES = ("-", "--", ":")


class Chart:
    """A figure with one pair of axes, whose lines and points belong to the rows of a table.

    Args:
        title: its title.
        height: in inches; its width is always the same.
        note: a remark below the title.
    """

    def __init__(self, title: str, height: float = 3.4, note: str = "") -> None:
        self.title, self.note = title, note
        self.figure = Figure(figsize=(4.6, height), layout="constrained")
        self.axes: Axes = self.figure.add_subplot()
        frame(self.axes, "")
        self.tips: dict[str, tuple[int, list[str]]] = {}  # the row and texts of an artist, by its id

    def label(self, x: str, y: str = "") -> None:
        """Name the axes."""
        self.axes.set_xlabel(literal(x), color=INK, fontsize=10)
        self.axes.set_ylabel(literal(y), color=INK, fontsize=10)

    def plot(
        self, place: int, x: Any, y: Any, tips: list[str], marked: bool = True, joined: bool = True, **how: Any
    ) -> None:
        """Draw points of a row.

        Args:
            place: the row's place in its table, which chooses colour, marker and dashes.
            x: places, [n].
            y: values, [n].
            tips: a text for each point, [n], or one for the curve if its points are not marked.
            marked: draw markers.
            joined: draw the curve through the points.
            how: further properties of the line.
        """
        colour, marker, dashes = look(place)
        style: dict[str, Any] = {"color": colour, "linewidth": 1.7, "markersize": 6.5, "markeredgecolor": "white"} | how
        style |= {"markeredgewidth": 0.5, "markersize": style["markersize"] * (1.4 if marker == "*" else 1)}
        (line,) = self.axes.plot(x, y, marker=marker if marked else "", linestyle=dashes if joined else "", **style)
        self.tell(line, place, tips)

    def tell(self, artist: Artist, place: int, tips: list[str]) -> None:
        """Assign an artist to a row, with the texts that it shows under the pointer."""
        artist.set_gid(f"tip{len(self.tips)}")
        self.tips[f"tip{len(self.tips)}"] = (place, tips)

    def svg(self) -> str:
        """Return the figure as SVG without styles, which the page's policy forbids, with a title in each point."""
        file = io.StringIO()
        with rc_context({"svg.fonttype": "none"}):
            self.figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
        root = ElementTree.fromstring(file.getvalue().replace(' xmlns="http://www.w3.org/2000/svg"', ""))
        root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": self.title}
        for element in root.iter():
            for key in [key for key in element.attrib if key.endswith("}href")]:
                element.set("href", element.attrib.pop(key))
            for name, _, value in (part.partition(":") for part in element.attrib.pop("style", "").split(";")):
                size = re.search(r"([\d.]+)px", value) if name.strip() == "font" else None
                if name.strip():
                    element.set("font-size" if size else name.strip(), size[1] if size else value.strip())
            if element.tag == "g":
                place, tips = self.tips.get(element.attrib.pop("id", ""), (None, []))
                if place is not None:
                    element.set("data-row", str(place))
                    points = list(element.iter("use"))
                    for point, tip in zip(points, tips, strict=True) if points else [(element, tips[0])]:
                        ElementTree.SubElement(point, "title").text = tip
        for parent in root.iter():
            for child in [c for c in parent if c.tag in ("style", "metadata")]:
                parent.remove(child)
        return ElementTree.tostring(root, encoding="unicode")


def literal(text: str) -> str:
    """Keep matplotlib from reading dollar signs as mathematics."""
    return text.replace("$", r"\$")


def look(place: int) -> tuple[str, str, str]:
    """Return colour, marker and dashes of a table's row: together they differ for the first 84 rows."""
    dashes = DASHES[place // len(COLOURS) % len(DASHES)]
    return COLOURS[place % len(COLOURS)], list(MARKERS)[place % len(MARKERS)], dashes
