"""Tables as text: on the screen, and as Markdown, CSV and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from recgnn.comparison.row import Row
from recgnn.comparison.significance import LEVEL
from recgnn.comparison.tables import Table
from recgnn.errors import in_markdown

ON_SCREEN, IN_FILES = 4, 5  # metrics


def cell(row: Row, metric: str) -> str:
    """Write `0.2727 ± 0.0012`: the mean over the runs and, if there are several, their standard deviation."""
    mean, spread = row.mean(metric), row.spread(metric)
    if mean is None:
        return ""
    digits = 4 if abs(mean) < 10 else 1
    return f"{mean:.{digits}f}" + ("" if spread is None else f" ± {spread:.{digits}f}")


def against(table: Table, row: Row) -> list[str]:
    """Write the difference to the reference with its interval, and the p-value of the t-test and of Wilcoxon's."""
    if row.against is None:
        return ["reference" if row is table.reference else "", "", ""]
    pair = row.against
    return [f"{pair.difference:+.4f} [{pair.low:+.4f}, {pair.high:+.4f}]", p_value(pair.p_t), p_value(pair.p_wilcoxon)]


def p_value(p: float) -> str:
    """Write `0.012` or `< 0.001`; with a dagger if it is significant."""
    text = "" if p != p else "< 0.001" if p < 0.001 else f"{p:.3f}"
    return f"{text} †" if p < LEVEL else text


def difference_of(table: Table) -> str:
    """Return the head of the column of differences."""
    return "Δ auc within users" if table.of_users == "auc" else f"Δ {table.of_users} of users"


def chances(table: Table) -> dict[str, list[str]]:
    """Return columns, by head, of the trials and of the readings of the test part, as far as they are of interest."""
    trials, reads = ([getattr(row, name) for row in table.rows] for name in ("trials", "test_reads"))
    found = {"trials": trials if any(trials) else [], "test reads": reads if max(n or 0 for n in reads) > 1 else []}
    return {head: ["" if n is None else str(n) for n in numbers] for head, numbers in found.items() if numbers}


def legend(table: Table) -> str:
    """Explain the columns of significance; empty if nothing was tested."""
    if table.reference is None or not table.tested:
        return ""
    users = max(row.against.users for row in table.rows if row.against)
    return (
        f"{difference_of(table)}: their mean difference to {table.reference.name} over {users:,} users [95 % interval, "
        "bootstrap]; p: paired t-test, Holm's correction; † p < 0.05"
    )


def show(tables: Sequence[Table]) -> None:
    """Print the tables."""
    console = Console()
    console.width = max(console.width, 80) if console.is_terminal else 160
    for table in tables:
        names = table.metrics[:ON_SCREEN]
        console.print(f"[bold]{escape(table.title)}[/]: {escape(table.protocol)}")
        rich = RichTable()
        rich.add_column("model")
        more = chances(table)
        for head in ("n", *names, *([difference_of(table), "p"] if table.tested else []), *more, "seconds"):
            rich.add_column(escape(head), justify="right")
        for place, row in enumerate(table.rows):
            cells = [f"[bold green]{cell(row, n)}[/]" if table.best(n) is row else cell(row, n) for n in names]
            cells += against(table, row)[:2] if table.tested else []
            cells += [texts[place] for texts in more.values()]
            rich.add_row(escape(row.name), str(len(row.runs)), *cells, row.times[1])
        for row in table.baselines:
            rich.add_row(escape(row.name), str(len(row.runs)), *(cell(row, name) for name in names), style="dim")
        console.print(rich)
        if table.tested:
            console.print(escape(legend(table)), style="dim", highlight=False)
        for note in table.notes:
            console.print(f"[yellow]note:[/] {escape(note)}")


def markdown(tables: Sequence[Table]) -> str:
    """Write all tables as Markdown, each with the settings that differ between its rows."""
    lines: list[str] = []
    for table in tables:
        names = table.metrics[:IN_FILES]
        more = chances(table)
        heads = ["model", "runs", *names, "best epochs", *more, "s/epoch", "seconds"]
        heads += [difference_of(table), "p (t)", "p (Wilcoxon)"] if table.tested else []
        body = []
        for place, row in enumerate(table.rows):
            cells = [f"**{c}**" if table.best(name) is row else c for name in names for c in [cell(row, name)]]
            cells.append(", ".join(run.best_epoch for run in row.runs))
            cells += [texts[place] for texts in more.values()]
            tested = against(table, row) if table.tested else []
            body.append([row.name, str(len(row.runs)), *cells, *row.times, *tested])
        for row in table.baselines:
            cells = [row.name, str(len(row.runs)), *(cell(row, name) for name in names)]
            body.append([*cells, *[""] * (len(heads) - len(cells))])
        title, protocol, told = (in_markdown(text) for text in (table.title, table.protocol, legend(table)))
        lines += [f"## {title}", "", protocol, "", *markdown_table(heads, body), ""]
        lines += [*([told, ""] if table.tested else []), *(f"- {in_markdown(note)}" for note in table.notes), ""]
        if settings := table.differing:
            lines += ["Settings that differ:", ""]
            body = [[name, *values] for name, values in settings.items()]
            lines += [*markdown_table(["setting", *(row.name for row in table.rows)], body), ""]
    return "\n".join(lines) + "\n"


def markdown_table(heads: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """Write one table, its first column to the left and the others to the right."""
    rows = [heads, ["---", *["---:"] * (len(heads) - 1)], *body]
    return [f"| {' | '.join(map(in_markdown, row))} |" for row in rows]


def records(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """Return all rows of all tables, one after the other, with every metric's mean and standard deviation."""
    found = []
    for number, table in enumerate(tables, 1):
        for row in table.rows:
            record: dict[str, Any] = {"table": number, "data": table.first.dataset["name"], "task": table.task}
            record |= {"split": table.first.dataset["split"], "line": row.name, "model": row.model}
            record |= {"runs": len(row.runs), "seeds": " ".join(str(run.seed) for run in row.runs)}
            for name in table.metrics:
                record |= {name: row.mean(name), f"{name} sd": row.spread(name)}
            record |= {"best epochs": " ".join(run.best_epoch for run in row.runs)}
            record |= {"trials": row.trials, "test reads": row.test_reads}
            record |= {"seconds per epoch": round(row.seconds_per_epoch, 4), "seconds": round(row.seconds, 1)}
            record |= {"tested metric": table.of_users, "reference": table.reference and table.reference.name}
            record |= row.against._asdict() if row.against else {}
            record |= {"folders": " ".join(str(run.folder) for run in row.runs)}
            found.append(record)
        for row in table.baselines:
            record = {"table": number, "data": table.first.dataset["name"], "task": table.task}
            record |= {"split": table.first.dataset["split"], "line": row.name, "model": row.model}
            record |= {"runs": len(row.runs)}
            for name in table.metrics:
                record |= {name: row.mean(name), f"{name} sd": row.spread(name)}
            found.append(record)
    return found


def csv(tables: Sequence[Table]) -> str:
    """Write all rows as CSV."""
    return pd.DataFrame(records(tables)).to_csv(index=False)
