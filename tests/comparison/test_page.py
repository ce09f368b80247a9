"""The page of a comparison: what stands in it, that it needs nothing else, and that a browser shows all of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from recgnn.comparison import compare
from recgnn.comparison.charts import bars, charts
from recgnn.comparison.page import page
from recgnn.comparison.reading import find
from recgnn.comparison.tables import tables

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FIGURES = {
    "Learning curves: training loss": 2,
    "Learning curves: validation ndcg@5": 1,
    "Learning curves: validation auc": 1,
    "Test ndcg@5": 1,
    "Test ndcg@5 against training time": 1,
    "Test auc": 1,
    "Test auc against training time": 1,
    "recall@5 by user activity": 1,
    "recall@5 by item popularity": 1,
    "auc by daytime": 1,
    "Calibration": 1,
}
PROBE = """
<script>
const wrong = [];
addEventListener("error", (e) => wrong.push(e.message));
addEventListener("securitypolicyviolation", (e) => wrong.push(e.violatedDirective));
</script>"""
MEASURE = """
<script>
document.querySelectorAll("th button")[2].click();
const svg = document.querySelector("figure svg"), mark = svg.querySelector("[data-row='1']");
mark.dispatchEvent(new PointerEvent("pointerover", { bubbles: true }));
const told = document.createElement("pre");
told.textContent = "MEASURED " + JSON.stringify({
  wrong,
  lit: [...document.querySelectorAll("tr.on, .legend .on")].map((part) => part.dataset.row),
  faint: Number(getComputedStyle(svg.querySelector("[data-row='0']")).opacity),
  order: [...document.querySelectorAll("table")[0].tBodies[0].rows].map((row) => row.cells[2].dataset.value),
  requests: performance.getEntriesByType("resource").map((entry) => entry.name),
  figures: [...document.querySelectorAll("figure")].map((figure) => {
    const drawn = [...figure.querySelectorAll("svg [data-row]")].map((part) => part.getBoundingClientRect());
    const own = figure.querySelector("svg").getBoundingClientRect();
    const inside = drawn.every((r) => r.left >= own.left - 6 && r.right <= own.right + 6 && r.top >= own.top - 6
      && r.bottom <= own.bottom + 6);
    return { title: figure.querySelector("figcaption").firstChild.textContent, width: own.width, height: own.height,
      drawn: drawn.filter((r) => r.width > 0 || r.height > 0).length, inside };
  }),
});
document.body.append(told);
</script>"""


class Reader(HTMLParser):
    """Tags, attributes and texts of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.captions: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data) -> None:
        if self.open and self.open[-1] == "figcaption":
            self.captions.append(data)


@pytest.fixture(scope="module")
def shown(trained, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("page")
    compare([trained], folder)
    return (folder / "compare.html").read_text(encoding="utf-8")


def test_every_figure_is_there_and_every_tag_is_closed(shown) -> None:
    read = Reader(shown)
    assert not read.open
    for title, number in FIGURES.items():
        assert read.captions.count(title) == number, title
    assert sum(tag == "section" for tag, _ in read.tags) == 2
    identities = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
    assert len(identities) == len(set(identities))


def test_it_refers_to_nothing_outside(shown) -> None:
    """No address but the namespace of SVG, and nothing that would load one."""
    assert set(re.findall(r"https?://[^\s\"'<)]+", shown)) <= {"http://www.w3.org/2000/svg"}
    loading = ("src", "srcset", "href", "xlink:href", "data", "action", "poster", "background", "style")
    for tag, attributes in Reader(shown).tags:
        assert tag not in ("img", "iframe", "object", "embed", "video", "audio", "base", "form", "image")
        for name in loading:
            value = attributes.get(name)
            assert value in (None, "data:,") or (tag == "use" and value.startswith("#")), (tag, name)
        assert not any(name.startswith("on") for name in attributes), "inline handlers are against the policy"
    assert "@import" not in shown and not re.search(r"url\((?!#)", shown)


def test_its_policy_forbids_everything_but_its_own(shown) -> None:
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', shown)
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives["default-src"] == "'none'"
    assert directives["script-src"].startswith("'sha256-") and directives["style-src"].startswith("'sha256-")
    assert "unsafe" not in policy and "http" not in policy


def test_names_cannot_become_markup(made, tmp_path) -> None:
    for name, value in (("a", "<script>alert(1)</script>"), ("b", '"><img src=x>')):
        made(f"{name}/1", {"ndcg@10": 0.2}, options={"note": value})
    text = page(tables(find([tmp_path])[0]), ['<b>"left"</b>'])
    assert "<script>alert" not in text and "<img" not in text and "<b>" not in text
    assert not Reader(text).open


def test_values_are_drawn_where_they_belong(made, tmp_path) -> None:
    """Bars from 0: one value is three times the other, and so is its bar."""
    made("a/1", {"ndcg@10": 0.1})
    made("b/1", {"ndcg@10": 0.3}, model="NGCF")
    (table,) = tables(find([tmp_path])[0])
    long, short = (bar.get_width() for bar in bars(table, "ndcg@10", 3).axes.patches)
    assert (long, short) == pytest.approx((0.3, 0.1))


@pytest.mark.parametrize(("other", "number"), [(0.3 - 1e-9, 2), (0.28, 0), (0.1, 2)])
def test_the_axis_is_cut_where_values_are_close_and_not_where_they_are_equal(other, number, made, tmp_path) -> None:
    made("a/1", {"ndcg@10": other})
    made("b/1", {"ndcg@10": 0.3}, model="NGCF")
    (table,) = tables(find([tmp_path])[0])
    assert len(bars(table, "ndcg@10", 3).axes.patches) == number


def test_a_point_tells_its_value(shown, trained) -> None:
    """Each epoch of each run of metrics.csv is the title of a marker."""
    for model, name in (("mf", "MF"), ("fm", "FM")):
        for seed in ("1", "2"):
            rows = pd.read_csv(trained / model / seed / "metrics.csv").dropna(subset="train/loss")
            for epoch, loss in zip(rows["epoch"], rows["train/loss"], strict=True):
                assert f"<title>{name}, seed {seed}, epoch {epoch}: {loss:.4g}</title></use>" in shown


def test_cards_are_of_one_size_and_none_is_empty(made, tmp_path) -> None:
    """Runs of a single epoch have no learning curve to show; ten rows still have ten colours."""
    for n in range(10):
        run = made(f"{n}/1", {"ndcg@10": 0.1 + n / 100, "recall@10": 0.2}, model=f"M{n}")
        (run / "metrics.csv").write_text("epoch,train/loss,val/ndcg@10\n0,0.5,0.1\n")
    (table,) = tables(find([tmp_path])[0])
    drawn = charts(table)
    assert [chart.title for chart in drawn] == ["Test ndcg@10", "Test recall@10", "Test ndcg@10 against training time"]
    assert len({tuple(chart.figure.get_size_inches()) for chart in drawn}) == 1
    assert len({line.get_color() for line in drawn[2].axes.lines}) == 10


def test_a_run_without_a_value_is_left_out(made, tmp_path) -> None:
    for seed, value in (("1", 0.1), ("2", float("nan"))):
        made(f"a/{seed}", {"ndcg@10": 0.2, "gini@10": value}, int(seed))
    made("b/1", {"ndcg@10": 0.3, "gini@10": 0.2}, model="NGCF")
    (table,) = tables(find([tmp_path])[0])
    svg = bars(table, "gini@10", 3).svg()
    assert re.findall(r"<title>([^<]*)</title>", svg) == ["NGCF: 0.2", "MF: 0.1", "MF, seed 1: 0.1"]


def test_the_settings_that_differ_are_a_table(made, tmp_path) -> None:
    for name, rate in (("a", 0.1), ("b", 0.5)):
        made(f"{name}/1", {"ndcg@10": rate}, options={"lr": rate, "dim": 8, "loss": "bpr" if rate == 0.1 else None})
    compared = tables(find([tmp_path])[0])
    (table,) = compared
    assert table.differing == {"model.init_args.loss": ["null", "bpr"], "model.init_args.lr": ["0.5", "0.1"]}
    text = page(compared, [])
    rows = re.findall(r"<tr><td[^>]*>([^<]*)</td><td[^>]*>([^<]*)</td><td[^>]*>([^<]*)</td></tr>", text)
    assert rows == [("model.init_args.loss", "null", "bpr"), ("model.init_args.lr", "0.5", "0.1")]


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium or google-chrome")
def test_a_browser_shows_every_figure_without_error_or_request(shown, tmp_path) -> None:
    """The page with a probe, which its policy is widened for; its own script and style stay as they are."""
    assert "script-src 'sha256-" in shown
    probed = re.sub(r"script-src '[^']+'", "script-src 'unsafe-inline'", shown, count=1)
    probed = probed.replace("<body>", f"<body>{PROBE}", 1).replace("</body>", f"{MEASURE}</body>", 1)
    for name, text in (("page.html", shown), ("probed.html", probed)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    logs = {}
    for name in ("page.html", "probed.html"):
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                   "--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}",
                   "--window-size=1400,1000", "--enable-logging=stderr", "--v=0", "--dump-dom",
                   (tmp_path / name).as_uri()]  # fmt: skip
        logs[name] = subprocess.run(command, capture_output=True, text=True, timeout=600)
    for done in logs.values():
        assert "CONSOLE" not in done.stderr, done.stderr  # a console message, as of a violated policy
    told = read_measure(logs["probed.html"].stdout)
    assert not told["wrong"]
    assert not [name for name in told["requests"] if not name.startswith("data:")]
    assert {f["title"] for f in told["figures"]} >= FIGURES.keys()
    for figure in told["figures"]:
        assert figure["width"] > 300 and figure["height"] > 50 and figure["drawn"] > 0 and figure["inside"], figure
    assert told["lit"] == ["1", "1"] and told["faint"] < 0.5
    assert [float(x) for x in told["order"]] == sorted(map(float, told["order"]), reverse=True)


def read_measure(dom: str) -> dict:
    (text,) = re.findall(r"<pre>MEASURED (.*?)</pre>", dom, flags=re.DOTALL)
    return json.loads(unescape(text))


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium or google-chrome")
def test_the_browser_test_can_fail(shown, tmp_path) -> None:
    """A page with an image from elsewhere and a script that is not its own is told of."""
    bad = shown.replace("</body>", '<img src="http://127.0.0.1:9/x.png"><script>1;</script></body>', 1)
    path: Path = tmp_path / "bad.html"
    path.write_text(bad, encoding="utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
               "--enable-logging=stderr", "--v=0", "--dump-dom", path.as_uri()]  # fmt: skip
    assert subprocess.run(command, capture_output=True, text=True, timeout=600).stderr.count("CONSOLE") >= 2
