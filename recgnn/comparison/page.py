"""The comparison as one HTML page that needs nothing else: no network and no other file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime
from html import escape
from importlib.resources import files

from recgnn.comparison.chart import MARKERS, look
from recgnn.comparison.charts import charts
from recgnn.comparison.row import Row
from recgnn.comparison.tables import Table
from recgnn.comparison.text import IN_FILES, against, cell, chances, difference_of, legend

METHOD = """\
Rows are configurations, and their values means over runs that differ in seeds alone, ± the standard deviation over
these. A difference is tested over users: each user's value is the mean over a row's runs, and a row is paired with the
reference on the users that both were tested on. p is that of the paired t-test, corrected for the number of rows by
Holm's method; the interval is the percentile bootstrap over users. For means of many users these agree with the
randomisation test, and Wilcoxon's test, given beside them, asks another question (Smucker, Allan and Carterette, A
comparison of statistical significance tests for information retrieval evaluation, CIKM 2007; Sakai, Evaluating
evaluation metrics based on the bootstrap, SIGIR 2006; Holm, A simple sequentially rejective multiple test procedure,
1979). They tell of other users of the same data, not of other data sets; and a reference that was chosen because it is
the best looks a little better than it is."""
MANY = 12  # settings, which are folded away


def page(tables: Sequence[Table], left: Sequence[str]) -> str:
    """Return the page with all tables and their figures.

    Args:
        tables: the tables.
        left: a line for each run that was left out.
    """
    style, script = (files("recgnn.comparison").joinpath(f"page.{kind}").read_text("utf-8") for kind in ("css", "js"))
    allowed = f"default-src 'none'; style-src '{digest(style)}'; script-src '{digest(script)}'; img-src data:; "
    allowed += "base-uri 'none'; form-action 'none'"
    rows = sum(len(table.rows) for table in tables)
    runs = sum(len(row.runs) for table in tables for row in table.rows)
    notes = "".join(f'<p class="note">{escape(text)}</p>' for text in left)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{allowed}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>recgnn: {runs} runs compared</title>
<style>{style}</style>
</head>
<body>
<h1>{runs} runs compared</h1>
<p class="soft">{rows} configurations, {datetime.now():%Y-%m-%d %H:%M}, by recgnn. A point or a row under the pointer \
stands out everywhere, and a point tells its value; a click on a column's head sorts.</p>
{notes}{"".join(map(section, tables))}{details("How to read the figures", f"<p>{escape(METHOD)}</p>")}
<script>{script}</script>
</body>
</html>
"""


def digest(text: str) -> str:
    """Return the name of an inline style or script in a Content-Security-Policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def section(table: Table) -> str:
    """Write a table, its notes, its figures and its settings."""
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in table.notes)
    keys = "".join(f'<span data-row="{at}">{key(at)}{escape(row.name)}</span>' for at, row in enumerate(table.rows))
    figures = "".join(
        f"<figure><figcaption>{escape(chart.title)}<small>{escape(chart.note)}</small></figcaption>{chart.svg()}</figure>"
        for chart in charts(table)
    )
    return (
        f"<section><h2>{escape(table.title)}</h2><p class='soft'>{escape(table.protocol)}</p>{notes}{results(table)}"
        f'<p class="soft">{escape(legend(table))}</p><div class="legend">{keys}</div>'
        f'<div class="figures">{figures}</div>{settings(table)}{folders(table)}</section>\n'
    )


def key(place: int) -> str:
    """Draw colour and marker of a table's row."""
    colour, marker, _ = look(place)
    return (
        f'<svg class="key" viewBox="0 0 16 16" aria-hidden="true"><text x="8" y="13" text-anchor="middle" '
        f'font-size="15" fill="{colour}">{MARKERS[marker]}</text></svg>'
    )


def results(table: Table) -> str:
    """Write the table of metrics, differences and times."""
    names = table.metrics[:IN_FILES]
    heads = ["model", "runs", *names]
    heads += [difference_of(table), "p (t)", "p (Wilcoxon)"] if table.tested else []
    more, body = chances(table), []
    for place, row in enumerate(table.rows):
        cells = [td(f"{key(place)}{escape(row.name)}", row.name), td(len(row.runs), len(row.runs))]
        for name in names:
            mean, _, spread = cell(row, name).partition(" ±")
            small = f' <span class="sd">±{spread}</span>' if spread else ""
            cells.append(td(mean + small, row.mean(name), "best" if table.best(name) is row else ""))
        if table.tested:
            values: tuple[object, ...] = (0.0 if row is table.reference else "", "", "")
            if row.against is not None:
                values = row.against.difference, row.against.p_t, row.against.p_wilcoxon
            cells += [td(escape(text), value) for text, value in zip(against(table, row), values, strict=True)]
        cells += [td(texts[place], texts[place]) for texts in more.values()]
        seconds = (row.seconds_per_epoch, row.seconds)
        cells += [td(text, value) for text, value in zip(row.times, seconds, strict=True)]
        body.append(f'<tr data-row="{place}">{"".join(cells)}</tr>')
    for row in table.baselines:
        cells = [td(escape(row.name), row.name), td(len(row.runs), len(row.runs))]
        cells += [td(cell(row, name), row.mean(name)) for name in names]
        cells += [td("", "")] * (len(heads) + len(more) + 2 - len(cells))
        body.append(f'<tr class="soft">{"".join(cells)}</tr>')
    return html_table([*heads, *more, "s/epoch", "seconds"], body)


def settings(table: Table) -> str:
    """Write the settings that differ between the rows; nothing if there are none."""
    names = table.differing
    if not names:
        return ""
    body = [f"<tr>{''.join(td(escape(x), x) for x in (name, *values))}</tr>" for name, values in names.items()]
    heads = ["setting", *(row.name for row in table.rows)]
    return details("Settings that differ", html_table(heads, body), len(names) <= MANY)


def folders(table: Table) -> str:
    """Write the seed, epochs, time and folder of each run."""
    body = []
    for row in table.rows:
        for run in row.runs:
            epochs = f"{run.best_epoch} of {run.content['epochs']}" if run.content["epochs"] else run.best_epoch
            shown = (row.name, run.seed, epochs, Row([run]).times[1], run.folder)
            body.append(f"<tr>{''.join(td(escape(str(x)), x) for x in shown)}</tr>")
    return details("Runs", html_table(["model", "seed", "best epoch", "seconds", "run folder"], body))


def html_table(heads: Sequence[str], body: Sequence[str]) -> str:
    """Write a table that a click on a head sorts, of rows in HTML."""
    cells = "".join(f'<th scope="col"><button type="button">{escape(head)}</button></th>' for head in heads)
    return f'<div class="wide"><table><thead><tr>{cells}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'


def details(title: str, content: str, unfolded: bool = False) -> str:
    """Write a part that can be folded away."""
    return f"<details{' open' * unfolded}><summary>{title}</summary>{content}</details>"


def td(content: object, value: object, kind: str = "") -> str:
    """Write a cell: its content in HTML, and the value by which it is sorted."""
    marked = f' class="{kind}"' if kind else ""
    return f'<td{marked} data-value="{escape("" if value is None else str(value))}">{content}</td>'
