"""Lines that were tested on the same as one table, held against the best of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from recgnn.comparison.found import Run
from recgnn.comparison.lines import Line, as_lines, name_lines, together
from recgnn.comparison.measures import MAIN, OF_USERS, SHOWN, TASKS, goodness
from recgnn.comparison.significance import LEVEL, differences, holm, paired
from recgnn.errors import ConfigError, did_you_mean


@dataclass
class Table:
    """Lines that can be compared, the best first.

    Args:
        lines: of them.
        metric: by which they are ordered and tested.
        reference: the line that the others are tested against.
        notes: what a reader has to know.
    """

    lines: list[Line]
    metric: str = ""
    reference: Line | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def first(self) -> Run:
        return self.lines[0].runs[0]

    @property
    def task(self) -> str:
        return self.first.task

    @property
    def title(self) -> str:
        return f"{self.first.dataset['name']}: {TASKS[self.task]}"

    @property
    def protocol(self) -> str:
        """How the data were split, and how many rows there are."""
        data = self.first.dataset
        text = data["split"] if len(self.parts) == 1 else data["split"].partition(", seed")[0]
        label = f"label {data['label']}; " if "label" in data else ""
        counts = ", ".join(f"{part} {data[part]:,}" for part in ("train", "val", "test"))
        parts = f"; {len(self.parts)} test parts, by seed" if len(self.parts) > 1 else ""
        return f"{label}{counts} ({text}){parts}"

    @property
    def of_users(self) -> str:
        """The metric of users that stands for the main one in the tests."""
        return OF_USERS.get(self.metric, self.metric)

    @property
    def parts(self) -> list[str]:
        return list(dict.fromkeys(part for line in self.lines for part in line.parts))

    @property
    def metrics(self) -> list[str]:
        """All test metrics: the main one, then in their usual order, short lists first."""
        names = dict.fromkeys(name for line in self.lines for run in line.runs for name in run.content["test"])
        usual = SHOWN[self.task]
        names = [name for name in names if any(line.values(name) for line in self.lines)]

        def place(name: str) -> tuple[bool, int, int]:
            base, _, k = name.partition("@")
            return name != self.metric, int(k or 0), usual.index(base) if base in usual else len(usual)

        return sorted(names, key=place)

    def best(self, metric: str) -> Line | None:
        """The best line by a metric; None where there is one line, or no value is the best, as of popularity."""
        lines = [line for line in self.lines if line.values(metric)]
        if len(self.lines) < 2 or not lines or goodness(metric, 0.0) is None:
            return None
        return max(lines, key=lambda line: goodness(metric, line.mean(metric)))

    def significant(self, line: Line) -> bool:
        """Whether a line differs from the reference."""
        return line.against is not None and line.against.p_t < LEVEL


def tables(runs: Sequence[Run], metric: str | None = None, baseline: str | None = None) -> list[Table]:
    """Runs as tables, long ones first: one for each set of runs of a data set and task that share test parts.

    Args:
        runs: to compare.
        metric: of the order and the tests; by default the usual one of the task.
        baseline: the name of a line, or of its model, to test against; the best line by default.

    Raises:
        ConfigError: if no run has the metric, or no table the baseline.
    """
    found = sorted((Table(lines) for lines in together(as_lines(runs))), key=lambda table: -len(table.lines))
    if metric is not None:
        known = dict.fromkeys(name for run in runs for name in run.content["test"])
        if metric not in known:
            raise ConfigError(f"--metric {metric}: no run has it{did_you_mean(metric, known)}; there are: "
                              f"{', '.join(known)}")  # fmt: skip
    for table in found:
        name_lines(table.lines)
    for table in found:
        table.metric = metric if metric in table.metrics else main_metric(table)
        others = [other for other in found if other is not table and other.title == table.title]
        if others:
            table.notes.append(
                f"not compared with {', '.join(line.name for other in others for line in other.lines)}: they were "
                "tested on other data (another split or its seed, other filters or items)"
            )
        partial = [line for line in table.lines if len(line.parts) < len(table.parts)]
        if partial:
            table.notes.append(
                f"means stand on different test parts: {', '.join(line.name for line in partial)} "
                f"{'was' if len(partial) == 1 else 'were'} not tested on all {len(table.parts)} of this table (seeds "
                "that others have); the significance stands on the common ones"
            )
        for line in table.lines:
            if len({(run.part, run.seed) for run in line.runs}) < len(line.runs):
                table.notes.append(f"{line.name}: several runs have one seed; their spread is not that of seeds")
        table.lines.sort(key=lambda line: order_of(line, table.metric))
        test(table, baseline)
    names = [name for table in found for line in table.lines for name in (line.name, line.model)]
    if baseline is not None and not any(is_called(line, baseline) for table in found for line in table.lines):
        raise ConfigError(f"--baseline {baseline}: no line is called so{did_you_mean(baseline, names)}; there are: "
                          f"{', '.join(dict.fromkeys(names))}")  # fmt: skip
    return found


def main_metric(table: Table) -> str:
    """The usual metric of a task that most lines have, of the shortest lists."""
    names = [name for name in table.metrics if name.partition("@")[0] == MAIN[table.task]] or table.metrics
    return max(names, key=lambda name: sum(bool(line.values(name)) for line in table.lines))


def order_of(line: Line, metric: str) -> tuple[bool, float]:
    """For sorting: the best first, those without the metric last."""
    mean = line.mean(metric)
    return mean is None, 0.0 if mean is None else -(goodness(metric, mean) or 0.0)


def is_called(line: Line, name: str) -> bool:
    """Whether a name is the line's or its model's."""
    return name.casefold() in (line.name.casefold(), line.model.casefold())


def test(table: Table, baseline: str | None) -> None:
    """Hold every line of a table against its reference, over users."""
    column = table.of_users
    called = [line for line in table.lines if baseline is not None and is_called(line, baseline)]
    table.reference = called[0] if called else table.best(table.metric)
    if table.reference is None:
        return
    others = [line for line in table.lines if line is not table.reference]
    reference = table.reference.of_users(column)
    found = []
    for line in others:
        values = line.of_users(column) if reference else {}
        found.append((line, paired(differences(values, reference))) if values else None)
    found = [pair for pair in found if pair is not None and pair[1].users > 1]
    corrected = [holm([getattr(pair, name) for _, pair in found]) for name in ("p_t", "p_wilcoxon")]
    for (line, pair), p_t, p_wilcoxon in zip(found, *corrected, strict=True):
        line.against = pair._replace(p_t=p_t, p_wilcoxon=p_wilcoxon)
    if len(found) == len(others):
        return
    lacking = [line.name for line in (table.reference, *others) if not line.of_users(column)]
    why = f"no {column} of each user in its run folder (users.parquet, which fit writes at its test; train again)"
    if not reference:
        table.notes.append(f"no significance: {table.reference.name}, the reference, has {why}")
    elif lacking:
        table.notes.append(f"no significance for {', '.join(lacking)}: {why}")
    else:
        table.notes.append("no significance where the runs have no user in common")
