"""Rows that were tested on the same data as one table, each compared with the best of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from recgnn.comparison.metrics import MAIN, METRICS, OF_USERS, TASKS, goodness
from recgnn.comparison.reading import Run
from recgnn.comparison.row import Row, as_rows, comparable, differing, name_rows
from recgnn.comparison.significance import Paired, differences, holm, paired
from recgnn.errors import ConfigError, did_you_mean
from recgnn.evaluation.metrics.names import BASELINES

FEW_USERS = 100


@dataclass
class Table:
    """Rows that can be compared, the best first.

    Args:
        rows: the rows.
        metric: the metric by which they are ordered and tested.
        reference: the row that the others are tested against.
        notes: remarks that a reader needs.
    """

    rows: list[Row]
    metric: str = ""
    reference: Row | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def first(self) -> Run:
        """The first run of the first row."""
        return self.rows[0].runs[0]

    @property
    def task(self) -> str:
        """The task of all runs."""
        return self.first.task

    @property
    def title(self) -> str:
        """The data and the task."""
        return f"{self.first.dataset['name']}: {TASKS[self.task]}"

    @property
    def protocol(self) -> str:
        """How the data were split, and the size of each part."""
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
    def tested(self) -> bool:
        """Whether any row was tested against the reference."""
        return any(row.against for row in self.rows)

    @property
    def parts(self) -> list[str]:
        """The parts that a run was measured on, `val` or `test`."""
        return list(dict.fromkeys(part for row in self.rows for part in row.parts))

    @property
    def differing(self) -> dict[str, list[str]]:
        """The settings that differ between rows, with their value in each row."""
        return differing(self.rows)

    @property
    def baselines(self) -> list[Row]:
        """The simple methods that its runs were measured beside, each test part once; where one was measured there with
        two settings, with the others in a row of their own."""
        found: dict[str, dict[str, Run]] = {}
        for run in (run for row in self.rows for run in row.runs):
            for name, values in run.content.get("baselines", {}).items():
                values = {"settings": {}} | values | {"seconds": float("nan")}
                beside, label = replace(run, content=run.content | values, model=name), BASELINES.get(name, name)
                first = found.setdefault(f"({label})", {}).setdefault(run.part, beside)
                if first.content["settings"] != values["settings"]:
                    label = ", ".join([label, *(f"{key} {value:g}" for key, value in values["settings"].items())])
                    found.setdefault(f"({label})", {}).setdefault(run.part, beside)
        return [Row([*runs.values()], label) for label, runs in found.items()]

    @property
    def metrics(self) -> list[str]:
        """All test metrics: the main one, then in their usual order, short lists first."""
        names = dict.fromkeys(name for row in self.rows for run in row.runs for name in run.content["test"])
        usual = list(METRICS[self.task])

        def place(name: str) -> tuple[bool, int, int]:
            base, _, k = name.partition("@")
            length = int(k) if k.isdecimal() else 0
            return name != self.metric, length, usual.index(base) if base in usual else len(usual)

        return sorted((name for name in names if any(row.values(name) for row in self.rows)), key=place)

    def best(self, metric: str) -> Row | None:
        """Return the best row by a metric; None for a single row, or a metric without a better direction."""
        scores = [(goodness(metric, mean), row) for row in self.rows if (mean := row.mean(metric)) is not None]
        scored = [(score, row) for score, row in scores if score is not None]
        return max(scored, key=lambda pair: pair[0])[1] if scored and len(self.rows) > 1 else None


def tables(runs: Sequence[Run], metric: str | None = None, baseline: str | None = None) -> list[Table]:
    """Arrange runs in tables, long ones first: one for each set of runs of a data set and task that share test parts.

    Args:
        runs: the runs to compare.
        metric: the metric of the order and the tests; by default the usual one of the task.
        baseline: the name of a row, or of its model, to test against; the best row by default.

    Raises:
        ConfigError: If no run has the metric, or no table the baseline.
    """
    found = sorted((Table(rows) for rows in comparable(as_rows(runs))), key=lambda table: -len(table.rows))
    if metric is not None:
        known = dict.fromkeys(name for run in runs for name in run.content["test"])
        if metric not in known:
            raise ConfigError(f"--metric {metric}: no run has it{did_you_mean(metric, known)}; there are: "
                              f"{', '.join(known)}")  # fmt: skip
    for table in found:
        name_rows(table.rows)
    for table in found:
        table.metric = metric if metric in table.metrics else main_metric(table)
        others = [other for other in found if other is not table and other.title == table.title]
        table.notes += remarks(table, others)
        table.rows.sort(key=lambda row: sort_key(row, table.metric))
        test(table, baseline)
    names = [name for table in found for row in table.rows for name in (row.name, row.model)]
    if baseline is not None and not any(is_called(row, baseline) for table in found for row in table.rows):
        raise ConfigError(f"--baseline {baseline}: no line is called so{did_you_mean(baseline, names)}; there are: "
                          f"{', '.join(dict.fromkeys(names))}")  # fmt: skip
    return found


def remarks(table: Table, others: Sequence[Table]) -> list[str]:
    """Return what a reader must know before trusting a table.

    Args:
        table: the table.
        others: the other tables of the same data set and task.
    """
    notes = []
    if others:
        names = ", ".join(row.name for other in others for row in other.rows)
        notes.append(
            f"not compared with {names}: they were tested on other data (another split or its seed, other filters or "
            "items)"
        )
    partial = [row.name for row in table.rows if len(row.parts) < len(table.parts)]
    if partial:
        notes.append(
            f"means stand on different test parts: {', '.join(partial)} {'was' if len(partial) == 1 else 'were'} not "
            f"tested on all {len(table.parts)} of this table (seeds that others have); the significance stands on the "
            "common ones"
        )
    if often := [f"{row.name} {row.test_reads} times" for row in table.rows if (row.test_reads or 0) > 1]:
        notes.append(f"the test part was read more than once: {', '.join(often)}; figures chosen by it are too good")
    for row in table.rows:
        if len({(run.part, run.seed) for run in row.runs}) < len(row.runs):
            notes.append(f"{row.name}: several runs have one seed; their spread is not that of seeds")
    users = [run.num_users for row in table.rows for run in row.runs]
    fewest = min((n for n in users if n is not None), default=FEW_USERS)
    if fewest < FEW_USERS:
        notes.append(
            f"only {fewest} users were tested: differences of this size may be chance; a split that tests more users, "
            "such as RatioSplit by user, tells more"
        )
    return notes


def main_metric(table: Table) -> str:
    """Return the usual metric of a task that most rows have, of the shortest lists."""
    names = [name for name in table.metrics if name.partition("@")[0] == MAIN[table.task]] or table.metrics
    return max(names, key=lambda name: sum(bool(row.values(name)) for row in table.rows))


def sort_key(row: Row, metric: str) -> tuple[bool, float]:
    """Sort the best row first, and rows without the metric last."""
    mean = row.mean(metric)
    return mean is None, 0.0 if mean is None else -(goodness(metric, mean) or 0.0)


def is_called(row: Row, name: str) -> bool:
    """Whether a name is the row's or its model's."""
    return name.casefold() in (row.name.casefold(), row.model.casefold())


def test(table: Table, baseline: str | None) -> None:
    """Test every row of a table against its reference, over users."""
    column = table.of_users
    called = [row for row in table.rows if baseline is not None and is_called(row, baseline)]
    table.reference = called[0] if called else table.best(table.metric)
    if table.reference is None:
        return
    others = [row for row in table.rows if row is not table.reference]
    reference = table.reference.of_users(column)
    found: list[tuple[Row, Paired]] = []
    for row in others:
        values = row.of_users(column) if reference else {}
        if values and (pair := paired(differences(values, reference))).users > 1:
            found.append((row, pair))
    corrected = [holm([getattr(pair, name) for _, pair in found]) for name in ("p_t", "p_wilcoxon")]
    for (row, pair), p_t, p_wilcoxon in zip(found, *corrected, strict=True):
        row.against = pair._replace(p_t=p_t, p_wilcoxon=p_wilcoxon)
    if len(found) == len(others):
        return
    lacking = [row.name for row in (table.reference, *others) if not row.of_users(column)]
    why = f"no {column} of each user in its run folder (users.parquet, which fit writes at its test; train again)"
    if not reference:
        table.notes.append(f"no significance: {table.reference.name}, the reference, has {why}")
    elif lacking:
        table.notes.append(f"no significance for {', '.join(lacking)}: {why}")
    else:
        table.notes.append("no significance where the runs have no user in common")
