"""The runs of one setting as one line of a table."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from recgnn.comparison.found import Run
from recgnn.comparison.significance import Paired


@dataclass
class Line:
    """The runs of one setting, which differ in seeds alone.

    Args:
        runs: of them.
        name: what to call it in its table.
        against: how it differs from the table's reference, over users; None for the reference itself, and where it is
            not known.
    """

    runs: list[Run]
    name: str = ""
    against: Paired | None = None

    @property
    def model(self) -> str:
        return self.runs[0].model

    @property
    def parts(self) -> list[str]:
        """What its runs were tested on, each once."""
        return list(dict.fromkeys(run.part for run in self.runs))

    def values(self, metric: str) -> list[float]:
        """A test metric of each run that has it."""
        found = [run.content["test"].get(metric) for run in self.runs]
        return [value for value in found if value is not None and value == value]

    def mean(self, metric: str) -> float | None:
        values = self.values(metric)
        return statistics.mean(values) if values else None

    def spread(self, metric: str) -> float | None:
        """The standard deviation over the runs; None for one run."""
        values = self.values(metric)
        return statistics.stdev(values) if len(values) > 1 else None

    def of_users(self, column: str) -> dict[str, pd.Series]:
        """A metric of each user for each test part, the mean over the runs on it; nothing where a run has none."""
        found: dict[str, list[pd.Series]] = {}
        for run in self.runs:
            values = run.of_users(column)
            if values is None:
                return {}
            found.setdefault(run.part, []).append(values)
        return {part: pd.concat(s, axis=1).mean(axis=1) if len(s) > 1 else s[0] for part, s in found.items()}


def as_lines(runs: Sequence[Run]) -> list[Line]:
    """Runs of the same data set and settings as one line."""
    lines: dict[str, Line] = {}
    for run in runs:
        key = json.dumps([run.dataset["name"], run.task, run.model, run.settings], sort_keys=True, default=str)
        lines.setdefault(key, Line([])).runs.append(run)
    return list(lines.values())


def together(lines: Sequence[Line]) -> list[list[Line]]:
    """Lines in groups: those that share a test part, with each other or through others."""
    groups: list[tuple[set[Any], list[Line]]] = []
    for line in lines:
        parts = {(line.runs[0].dataset["name"], line.runs[0].task, part) for part in line.parts}
        joined = [group for group in groups if group[0] & parts]
        groups = [group for group in groups if not group[0] & parts]
        members = [member for group in joined for member in group[1]]
        groups.append((parts.union(*(group[0] for group in joined)), [*members, line]))
    return [members for _, members in groups]


def name_lines(lines: Sequence[Line]) -> None:
    """Call lines by their models and, where several have one model, by what tells them apart."""
    for line in lines:
        alike = [other for other in lines if other.model == line.model]
        names = dict.fromkeys(name for other in alike for name in other.runs[0].settings)
        values = {name: {json.dumps(o.runs[0].settings.get(name), default=str) for o in alike} for name in names}
        own = sorted((n for n in names if len(values[n]) > 1), key=lambda n: (not n.startswith("model."), n))
        line.name = line.model
        if len(own) > 3 or any(isinstance(line.runs[0].settings.get(name), list) for name in own):
            folder = line.runs[0].folder
            line.name += f" ({folder.parent.name if folder.name.isdigit() else folder.name})"
        elif own:
            told = (f"{n.rpartition('.')[2]} {line.runs[0].settings.get(n)}" for n in own)
            line.name += f" ({', '.join(told)})"
    for place, line in enumerate(lines, 1):
        if sum(other.name == line.name for other in lines) > 1:
            line.name += f" [{place}]"
