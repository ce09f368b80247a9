"""A row of a comparison: the runs of one configuration, which differ in their seeds only."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from recgnn.comparison.reading import Run
from recgnn.comparison.significance import Paired


@dataclass(eq=False)
class Row:
    """The runs of one configuration.

    Args:
        runs: the runs, at least one.
        name: the row's name in its table.
        against: how it differs from the table's reference, over users; None for the reference itself, and where that
            is not known.
    """

    runs: list[Run]
    name: str = ""
    against: Paired | None = None

    @property
    def model(self) -> str:
        """The class of the model."""
        return self.runs[0].model

    @property
    def settings(self) -> dict[str, Any]:
        """The configuration that its runs share, by dotted name."""
        return self.runs[0].settings

    @property
    def parts(self) -> list[str]:
        """The test parts of its runs, each once."""
        return list(dict.fromkeys(run.part for run in self.runs))

    @property
    def seconds(self) -> float:
        """The mean time of a whole training; NaN where it is not known."""
        return statistics.mean(run.content["seconds"] for run in self.runs)

    @property
    def times(self) -> tuple[str, str]:
        """The seconds of an epoch and of a whole training, as text."""
        known = self.seconds == self.seconds
        return (f"{self.seconds_per_epoch:.2f}", f"{self.seconds:,.0f}") if known else ("–", "–")

    @property
    def seconds_per_epoch(self) -> float:
        """The mean over the runs."""
        return statistics.mean(run.content["seconds_per_epoch"] or 0.0 for run in self.runs)

    @property
    def trials(self) -> int | None:
        """How many configurations were tried before its own was chosen; None if that is not said."""
        return self._most("trials")

    @property
    def test_reads(self) -> int | None:
        """How often the test part was read by the run that read it most; None if that is not said."""
        return self._most("test_reads")

    def _most(self, name: str) -> int | None:
        return max((number for run in self.runs if (number := run.content.get(name)) is not None), default=None)

    def values(self, metric: str) -> list[float]:
        """Return a test metric of each run that has it."""
        values = [run.content["test"].get(metric) for run in self.runs]
        return [value for value in values if value is not None and value == value]

    def mean(self, metric: str) -> float | None:
        """Average a metric over the runs; None where none has it."""
        values = self.values(metric)
        return statistics.mean(values) if values else None

    def spread(self, metric: str) -> float | None:
        """Return the standard deviation over the runs; None for a single run."""
        values = self.values(metric)
        return statistics.stdev(values) if len(values) > 1 else None

    def of_users(self, column: str) -> dict[str, pd.Series]:
        """Return a metric of each user by test part, averaged over the runs; empty if a run does not have it."""
        by_part: dict[str, list[pd.Series]] = {}
        for run in self.runs:
            values = run.of_users(column)
            if values is None:
                return {}
            by_part.setdefault(run.part, []).append(values)
        return {part: pd.concat(s, axis=1).mean(axis=1) if len(s) > 1 else s[0] for part, s in by_part.items()}


def as_rows(runs: Sequence[Run]) -> list[Row]:
    """Put the runs of the same data set and configuration into one row."""
    rows: dict[str, Row] = {}
    for run in runs:
        key = json.dumps([run.dataset["name"], run.task, run.model, run.settings], sort_keys=True, default=str)
        rows.setdefault(key, Row([])).runs.append(run)
    return list(rows.values())


def comparable(rows: Sequence[Row]) -> list[list[Row]]:
    """Group the rows that share a test part, directly or through other rows."""
    groups: list[tuple[set[Any], list[Row]]] = []
    for row in rows:
        parts = {(row.runs[0].dataset["name"], row.runs[0].task, part) for part in row.parts}
        joined = [group for group in groups if group[0] & parts]
        groups = [group for group in groups if not group[0] & parts]
        members = [member for group in joined for member in group[1]]
        groups.append((parts.union(*(group[0] for group in joined)), [*members, row]))
    return [members for _, members in groups]


def differing(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Return the settings that differ between rows: the value in each row, empty where a row does not have it."""
    names = dict.fromkeys(name for row in rows for name in row.settings)
    values = {name: [shown(row.settings[name]) if name in row.settings else "" for row in rows] for name in names}
    found = {name: texts for name, texts in values.items() if len(set(texts)) > 1}
    return dict(sorted(found.items(), key=lambda pair: (not pair[0].startswith(("model.", "training.")), pair[0])))


def shown(value: Any) -> str:
    """Write a setting as YAML would: null, true, [64, 32], text without quotes."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def name_rows(rows: Sequence[Row]) -> None:
    """Name rows by their models and, where several have one model, by the settings that tell them apart."""
    for row in rows:
        alike = [other for other in rows if other.model == row.model]
        own = differing(alike)
        row.name = row.model
        if len(own) > 3 or any(isinstance(row.settings.get(name), list) for name in own):
            folder = row.runs[0].folder
            row.name += f" ({folder.parent.name if folder.name.isdigit() else folder.name})"
        elif own:
            told = (f"{name.rpartition('.')[2]} {values[alike.index(row)]}".strip() for name, values in own.items())
            row.name += f" ({', '.join(told)})"
    for place, row in enumerate(rows, 1):
        if sum(other.name == row.name for other in rows) > 1:
            row.name += f" [{place}]"
