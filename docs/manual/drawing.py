"""Flowcharts in Mermaid's notation as SVG, so that a page needs neither a network nor a script of megabytes.

What is read: `flowchart TD`, nodes `a`, `a["a box"]` and `a("an operation")`, and chains of `-->` and `-->|label|`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from html import escape
from typing import NamedTuple

NODE = re.compile(r'\s*(\w+)(?:\["([^"]*)"\]|\("([^"]*)"\))?\s*')
ARROW = re.compile(r"-->(?:\|([^|]*)\|)?")
CHAR, LINE, HEIGHT, GAP, STEP = 7.1, 24, 34, 22, 74  # pixels of 13-pixel text
WIDEST = 26  # characters of a line of a box


class Chart(NamedTuple):
    """Nodes by name, each with its text and whether it is a box, and arrows with their labels."""

    nodes: dict[str, tuple[str, bool]]
    arrows: list[tuple[str, str, str]]


def read(text: str) -> Chart:
    """Read a flowchart.

    >>> read('flowchart TD\\n  a["A"] -->|x| b("B")').arrows
    [('a', 'b', 'x')]

    Raises:
        ValueError: Names the line that is none.
    """
    head, *lines = text.strip().splitlines()
    if head.split() != ["flowchart", "TD"]:
        raise ValueError(f"{head}: expected flowchart TD")
    chart = Chart({}, [])
    for line in filter(str.strip, lines):
        place, before, label = 0, None, ""
        while place < len(line):
            node = NODE.match(line, place)
            if node is None:
                raise ValueError(f"{line}: is no chain of nodes and arrows")
            name, box, operation = node.groups()
            if box or operation or name not in chart.nodes:
                chart.nodes[name] = (box or operation or name, not operation)
            if before:
                chart.arrows.append((before, name, label))
            arrow = ARROW.match(line, node.end())
            if arrow is None and node.end() < len(line):
                raise ValueError(f"{line}: is no chain of nodes and arrows")
            place, before, label = (arrow.end(), name, arrow[1] or "") if arrow else (len(line), None, "")
        if before:
            raise ValueError(f"{line}: ends in an arrow")
    return chart


def ranks(chart: Chart) -> dict[str, int]:
    """Give each node the length of the longest way to it; an arrow that closes a circle goes back."""
    order = list(chart.nodes)
    forward = [(a, b) for a, b, _ in chart.arrows if order.index(a) < order.index(b) or not _reaches(chart, b, a)]
    rank = dict.fromkeys(order, 0)
    for _ in order:
        for a, b in forward:
            rank[b] = max(rank[b], rank[a] + 1)
    return rank


def _reaches(chart: Chart, start: str, end: str) -> bool:
    seen, waiting = set(), [start]
    while waiting:
        node = waiting.pop()
        if node == end:
            return True
        if node not in seen:
            seen.add(node)
            waiting += [b for a, b, _ in chart.arrows if a == node]
    return False


def wrapped(text: str) -> list[str]:
    """Break a text into lines of about equal length."""
    count = -(-len(text) // WIDEST)
    lines: list[str] = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > max(len(text) / count + 4, 12) and len(lines) < count + 1:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def svg(text: str) -> str:
    """Draw a flowchart, as wide as its widest row."""
    chart = read(text)
    rank = ranks(chart)
    rows: defaultdict[int, list[str]] = defaultdict(list)
    for name in chart.nodes:
        rows[rank[name]].append(name)
    for level in sorted(rows)[1:]:  # below those that it comes from
        at = {name: n / max(len(rows[r]), 1) for r in rows for n, name in enumerate(rows[r])}
        before = {name: [at[a] for a, b, _ in chart.arrows if b == name and rank[a] < level] for name in rows[level]}
        rows[level].sort(key=lambda name: sum(before[name]) / len(before[name]) if before[name] else 0.5)
    lines = {name: wrapped(text) for name, (text, _) in chart.nodes.items()}
    width = {name: CHAR * max(map(len, lines[name])) + 20 for name in lines}
    height = {name: HEIGHT + 16 * (len(lines[name]) - 1) for name in lines}
    whole = max(sum(width[name] for name in row) + GAP * (len(row) - 1) for row in rows.values()) + 48
    x, y, top = {}, {}, 6.0
    for level in sorted(rows):
        row = rows[level]
        left = (whole - sum(width[name] for name in row) - GAP * (len(row) - 1)) / 2
        tallest = max(height[name] for name in row)
        for name in row:
            x[name], y[name] = left + width[name] / 2, top + tallest / 2
            left += width[name] + GAP
        top += tallest + STEP - HEIGHT
    drawn = [_arrow(a, b, label, x, y, height, rank, whole) for a, b, label in chart.arrows]
    for name, (_, box) in chart.nodes.items():
        place = f'x="{x[name] - width[name] / 2:.0f}" y="{y[name] - height[name] / 2:.0f}" width="{width[name]:.0f}"'
        kind = 'class="box" rx="4"' if box else 'class="step" rx="16"'
        drawn.append(f'<rect {kind} {place} height="{height[name]}"/>')
        for number, line in enumerate(lines[name]):
            down = y[name] + 4.5 + 16 * (number - (len(lines[name]) - 1) / 2)
            drawn.append(f'<text x="{x[name]:.0f}" y="{down:.0f}">{escape(line)}</text>')
    size = f'viewBox="0 0 {whole:.0f} {top - STEP + HEIGHT + 8:.0f}" style="max-width: {whole:.0f}px"'
    mark = '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    head = f'<defs>{mark}<path d="M0 0L8 4L0 8z"/></marker></defs>'
    return f'<figure class="flow"><svg role="img" {size}>{head}{"".join(drawn)}</svg></figure>'


def _arrow(a: str, b: str, label: str, x: dict, y: dict, height: dict, rank: dict[str, int], whole: float) -> str:
    """A line down from a to b; around the side where it goes up or passes other rows."""
    down = rank[b] > rank[a]
    start, end = (y[a] + height[a] / 2, y[b] - height[b] / 2) if down else (y[a] - height[a] / 2, y[b] + height[b] / 2)
    x1, x2 = x[a] + (0 if down else 26), x[b] + (0 if down else 26)
    middle = (start + end) / 2
    at = (x1 + x2) / 2 + 4, middle + 4
    path = f"M{x1:.0f} {start:.0f}C{x1:.0f} {middle:.0f} {x2:.0f} {middle:.0f} {x2:.0f} {end:.0f}"
    if rank[b] - rank[a] > 1:
        side = 14 if x[a] <= whole / 2 else whole - 14
        at = side + 4 if side == 14 else side - CHAR * len(label), end - 34
        path = (
            f"M{x1:.0f} {start:.0f}C{x1:.0f} {start + 24:.0f} {side:.0f} {start:.0f} {side:.0f} {start + 30:.0f}"
            f"L{side:.0f} {end - 30:.0f}C{side:.0f} {end:.0f} {x2:.0f} {end - 24:.0f} {x2:.0f} {end:.0f}"
        )
    told = f'<text class="label" x="{at[0]:.0f}" y="{at[1]:.0f}">{escape(label)}</text>' if label else ""
    return f'<path class="arrow" d="{path}" marker-end="url(#tip)"/>{told}'
