"""Tables as text: on the screen, as Markdown, CSV and JSON."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from recgnn.comparison.lines import Line
from recgnn.comparison.tables import Table

ON_SCREEN, IN_FILES = 4, 5  # metrics


def cell(line: Line, metric: str) -> str:
    """`0.2727 ± 0.0012`: the mean over the runs, and their standard deviation where there are several."""
    mean, spread = line.mean(metric), line.spread(metric)
    if mean is None:
        return ""
    digits = 4 if abs(mean) < 10 else 1
    return f"{mean:.{digits}f}" + ("" if spread is None else f" ± {spread:.{digits}f}")


def against(table: Table, line: Line) -> list[str]:
    """The difference to the reference with its interval, and the p-value; what is known of it."""
    if line is table.reference:
        return ["reference", ""]
    if line.against is None:
        return ["", ""]
    pair = line.against
    return [f"{pair.difference:+.4f} [{pair.low:+.4f}, {pair.high:+.4f}]", p_value(pair.p_t)]


def p_value(p: float) -> str:
    """`0.012`, `< 0.001`; a dagger where it is significant."""
    text = "" if p != p else "< 0.001" if p < 0.001 else f"{p:.3f}"
    return f"{text} †" if p < 0.05 else text


def seconds(line: Line) -> float:
    """The mean time of a whole training."""
    return statistics.mean(run.content["seconds"] for run in line.runs)


def difference_of(table: Table) -> str:
    """What the differences are of."""
    return "Δ auc within users" if table.of_users == "auc" else f"Δ {table.of_users} of users"


def show(tables: Sequence[Table]) -> None:
    """One table on the screen for each."""
    console = Console()
    console.width = max(console.width, 80) if console.is_terminal else 160
    for table in tables:
        names = table.metrics[:ON_SCREEN]
        console.print(f"[bold]{escape(table.title)}[/]: {escape(table.protocol)}")
        rich = RichTable()
        tested = any(line.against for line in table.lines)
        rich.add_column("model")
        for head in ("n", *names, *([difference_of(table), "p"] if tested else []), "seconds"):
            rich.add_column(head, justify="right")
        for line in table.lines:
            cells = [bold(cell(line, name), table.best(name) is line) for name in names]
            cells += against(table, line) if tested else []
            rich.add_row(escape(line.name), str(len(line.runs)), *cells, f"{seconds(line):,.0f}")
        console.print(rich)
        if tested:
            console.print(escape(legend(table)), style="dim", highlight=False)
        for note in table.notes:
            console.print(f"[yellow]note:[/] {escape(note)}")


def bold(text: str, best: bool) -> str:
    return f"[bold green]{text}[/]" if best else text


def legend(table: Table) -> str:
    """What the columns of significance say."""
    users = max(line.against.users for line in table.lines if line.against)
    return (
        f"{difference_of(table)}: their mean difference to {table.reference.name} over {users:,} users [95 % interval, "
        "bootstrap]; p: paired t-test, Holm's correction; † p < 0.05"
    )


def markdown(tables: Sequence[Table]) -> str:
    """All tables."""
    lines: list[str] = []
    for table in tables:
        names, tested = table.metrics[:IN_FILES], any(line.against for line in table.lines)
        lines += [f"## {table.title}", "", table.protocol, ""]
        heads = ["model", "runs", *names, "best epochs", "s/epoch", "seconds"]
        heads += [difference_of(table), "p (t)", "p (Wilcoxon)"] if tested else []
        lines += [row(heads), row(["---", *["---:"] * (len(heads) - 1)])]
        for line in table.lines:
            cells = [f"**{c}**" if table.best(name) is line else c for name in names for c in [cell(line, name)]]
            epochs = ", ".join(str(run.content["best_epoch"]) for run in line.runs)
            cells = [line.name, str(len(line.runs)), *cells, epochs, f"{per_epoch(line):.2f}", f"{seconds(line):.0f}"]
            cells += [*against(table, line), p_value(line.against.p_wilcoxon) if line.against else ""] if tested else []
            lines.append(row(cells))
        lines += ["", *([legend(table), ""] if tested else []), *(f"- {note}" for note in table.notes), ""]
    return "\n".join(lines)


def row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(text.replace('|', chr(92) + '|') for text in cells)} |"


def per_epoch(line: Line) -> float:
    """Mean seconds of an epoch."""
    return statistics.mean(run.content["seconds_per_epoch"] or 0.0 for run in line.runs)


def records(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """All lines of all tables, one after the other, with every metric's mean and standard deviation."""
    found = []
    for number, table in enumerate(tables, 1):
        for line in table.lines:
            record: dict[str, Any] = {"table": number, "data": table.first.dataset["name"], "task": table.task}
            record |= {"split": table.first.dataset["split"], "line": line.name, "model": line.model}
            record |= {"runs": len(line.runs), "seeds": " ".join(str(run.seed) for run in line.runs)}
            for name in table.metrics:
                record |= {name: line.mean(name), f"{name} sd": line.spread(name)}
            record |= {"best epochs": " ".join(str(run.content["best_epoch"]) for run in line.runs)}
            record |= {"seconds per epoch": round(per_epoch(line), 4), "seconds": round(seconds(line), 1)}
            record |= {"tested metric": table.of_users, "reference": table.reference and table.reference.name}
            record |= line.against._asdict() if line.against else {}
            record |= {"folders": " ".join(str(run.folder) for run in line.runs)}
            found.append(record)
    return found


def csv(tables: Sequence[Table]) -> str:
    """All lines as CSV."""
    return pd.DataFrame(records(tables)).to_csv(index=False)
