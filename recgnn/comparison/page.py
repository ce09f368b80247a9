"""The comparison as one HTML page that needs nothing else: no network, no other file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime
from html import escape
from importlib.resources import files

from recgnn.comparison.charts import charts
from recgnn.comparison.lines import Line
from recgnn.comparison.svg import look, shape
from recgnn.comparison.tables import Table
from recgnn.comparison.written import IN_FILES, against, difference_of, legend, p_value, per_epoch, seconds

METHOD = """\
Lines are settings, and their values means over runs that differ in seeds alone, ± the standard deviation over these.
A difference is tested over users: each user's value is the mean over a line's runs, and a line is paired with the
reference on the users that both were tested on. p is that of the paired t-test, corrected for the number of lines by
Holm's method; the interval is the percentile bootstrap over users. For means of many users these agree with the
randomisation test, and Wilcoxon's test, given beside them, asks another question (Smucker, Allan and Carterette, A
comparison of statistical significance tests for information retrieval evaluation, CIKM 2007; Sakai, Evaluating
evaluation metrics based on the bootstrap, SIGIR 2006; Holm, A simple sequentially rejective multiple test procedure,
1979). They tell of other users of the same data, not of other data sets; and a reference that was chosen because it is
the best looks a little better than it is."""


def page(tables: Sequence[Table], left: Sequence[str]) -> str:
    """All tables with their figures.

    Args:
        tables: of the page.
        left: what was left out, a line each.
    """
    style, script = (files("recgnn.comparison").joinpath(f"page.{kind}").read_text("utf-8") for kind in ("css", "js"))
    allowed = f"default-src 'none'; style-src '{digest(style)}'; script-src '{digest(script)}'; img-src data:; "
    allowed += "base-uri 'none'; form-action 'none'"
    sections = "".join(section(table) for table in tables)
    lines = sum(len(table.lines) for table in tables)
    runs = sum(len(line.runs) for table in tables for line in table.lines)
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
<p class="soft">{lines} settings, {datetime.now():%Y-%m-%d %H:%M}, by recgnn. A point or a row under the pointer \
stands out everywhere; a click on a column's head sorts.</p>
{notes}{sections}<details><summary>How to read the figures</summary><p>{escape(METHOD)}</p></details>
<div class="tip" role="tooltip" hidden></div>
<script>{script}</script>
</body>
</html>
"""


def digest(text: str) -> str:
    """What a Content-Security-Policy names an inline style or script by."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def section(table: Table) -> str:
    """A table, its notes, and its figures."""
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in table.notes)
    keys = "".join(
        f'<span data-line="{place}">{swatch(place)}{escape(line.name)}</span>' for place, line in enumerate(table.lines)
    )
    tested = any(line.against for line in table.lines)
    told = f'<p class="soft">{escape(legend(table))}</p>' if tested else ""
    return (
        f"<section><h2>{escape(table.title)}</h2><p class='soft'>{escape(table.protocol)}</p>{notes}"
        f'<div class="wide">{html_table(table, tested)}</div>{told}<div class="legend">{keys}</div>'
        f'<div class="figures">{"".join(charts(table))}</div>{folders(table)}</section>\n'
    )


def html_table(table: Table, tested: bool) -> str:
    """The sortable table."""
    names = table.metrics[:IN_FILES]
    heads = ["model", "runs", *names]
    heads += [difference_of(table), "p (t)", "p (Wilcoxon)"] if tested else []
    heads += ["s/epoch", "seconds"]
    cells = "".join(f'<th scope="col"><button type="button">{escape(head)}</button></th>' for head in heads)
    rows = []
    for place, line in enumerate(table.lines):
        row = [td(f"{swatch(place)}{escape(line.name)}", line.name), td(len(line.runs), len(line.runs))]
        row += [metric_cell(table, line, name) for name in names]
        if tested:
            pair, shown = line.against, against(table, line)
            values = (pair.difference, pair.p_t) if pair else (0.0 if shown[0] else "", "")
            row += [td(escape(text), value) for text, value in zip(shown, values, strict=True)]
            row.append(td(escape(p_value(pair.p_wilcoxon)), pair.p_wilcoxon) if pair else td("", ""))
        row += [td(f"{per_epoch(line):.2f}", per_epoch(line)), td(f"{seconds(line):,.0f}", seconds(line))]
        rows.append(f'<tr data-line="{place}">{"".join(row)}</tr>')
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def td(content: object, value: object, kind: str = "") -> str:
    """A cell: what it shows (HTML), and what it is sorted by."""
    marked = f' class="{kind}"' if kind else ""
    return f'<td{marked} data-value="{escape(str(value))}">{content}</td>'


def metric_cell(table: Table, line: Line, name: str) -> str:
    mean, spread = line.mean(name), line.spread(name)
    if mean is None:
        return td("", "")
    digits = 4 if abs(mean) < 10 else 1
    shown = f"{mean:.{digits}f}" + ("" if spread is None else f' <span class="sd">± {spread:.{digits}f}</span>')
    return td(shown, mean, "best" if table.best(name) is line else "")


def swatch(place: int) -> str:
    """A line's colour, dashes and marker."""
    return (
        f'<svg class="swatch" viewBox="0 0 34 14" aria-hidden="true"><polyline class="curve {look(place)}" '
        f'points="1,7 33,7"/><path class="mark {look(place)}" transform="translate(17 7)" d="{shape(place)}"/></svg>'
    )


def folders(table: Table) -> str:
    """Where the runs are."""
    rows = "".join(
        f"<tr><td>{escape(line.name)}</td><td>{escape(str(run.seed))}</td><td>{run.content['best_epoch']} of "
        f"{run.content['epochs']}</td><td>{run.content['seconds']:,.0f}</td><td>{escape(str(run.folder))}</td></tr>"
        for line in table.lines
        for run in line.runs
    )
    head = "<tr><th>model</th><th>seed</th><th>best epoch</th><th>seconds</th><th>run folder</th></tr>"
    return f'<details><summary>Runs</summary><div class="wide"><table>{head}{rows}</table></div></details>'
