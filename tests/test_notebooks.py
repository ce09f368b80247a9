"""The notebooks: what is committed is whole and clean, and each runs from top to bottom, on less training.

Those on MovieLens-100K take a quarter of a minute each, and are run by `python -m pytest -m long` alone.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NAMES = [
    "1_from_a_csv_to_recommendations",
    "2_graph_models_compared",
    "3_ctr_to_onnx",
    "4_what_din_attends_to",
    "5_one_system",
]
DATA = Path(os.environ.get("RECGNN_DATA", "")) / "ml-100k"
needs_data = pytest.mark.skipif(
    not os.environ.get("RECGNN_DATA") or not DATA.is_dir(), reason="RECGNN_DATA names no folder with ml-100k"
)

for package in ("nbformat", "nbclient", "ipykernel", "jupyter_client"):
    pytest.importorskip(package, reason=f"{package} lacks; pip install recgnn[notebooks]")

import nbformat  # noqa: E402
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager  # noqa: E402
from jupyter_client.manager import KernelManager  # noqa: E402
from nbclient import NotebookClient  # noqa: E402


class ThisPython(KernelSpecManager):
    """Every kernel is the Python that runs the tests."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="Python 3", language="python")


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def settings_of(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    (cell,) = [cell for cell in notebook.cells if "settings" in cell.metadata.get("tags", [])]
    return cell


def outputs(notebook: nbformat.NotebookNode) -> Iterator[nbformat.NotebookNode]:
    for cell in code(notebook):
        yield from cell.outputs


def texts(notebook: nbformat.NotebookNode) -> str:
    """All that the outputs say, pictures apart."""
    found = []
    for output in outputs(notebook):
        found += [output.get("text", ""), *(v for k, v in output.get("data", {}).items() if k.startswith("text/"))]
    return "\n".join(found)


def complaints(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """Errors, and whatever was written to standard error."""
    return [output for output in outputs(notebook) if output.output_type == "error" or output.get("name") == "stderr"]


def pictures(notebook: nbformat.NotebookNode) -> list[str]:
    """The cells that show one."""
    return [
        cell.source for cell in code(notebook) if any("image/png" in output.get("data", {}) for output in cell.outputs)
    ]


def tables(notebook: nbformat.NotebookNode) -> list[tuple[list[str], list[list[str]]]]:
    """The data frames that are shown: their columns, and their rows as text."""
    found = []
    for output in outputs(notebook):
        page = output.get("data", {}).get("text/html", "")
        if 'class="dataframe"' in page:
            head, body = page.split("<tbody>")
            columns = re.findall(r"<th>(.*?)</th>", head.split("</tr>")[0])
            rows = [re.findall(r"<t[hd]>(.*?)</t[hd]>", row, re.DOTALL) for row in body.split("</tr>")[:-1]]
            found.append((columns, rows))
    return found


def table_with(notebook: nbformat.NotebookNode, *columns: str) -> list[list[str]]:
    """The rows of the one data frame that has these columns."""
    (found,) = [rows for own, rows in tables(notebook) if {*columns} <= {*own}]
    return found


@pytest.fixture(scope="module")
def kernel() -> Iterator[KernelManager]:
    """One process for all, so that torch is imported once; each notebook starts with no names, in its own folder."""
    manager = KernelManager(kernel_spec_manager=ThisPython())
    paths = [str(FOLDER.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {k: v for k, v in os.environ.items() if k != "MPLBACKEND"}
    environment |= {"PYTHONPATH": os.pathsep.join(paths), "PYTHONWARNINGS": "ignore:IProgress not found"}
    manager.start_kernel(env=environment)
    yield manager
    manager.shutdown_kernel(now=True)


@pytest.fixture
def execute(kernel, tmp_path) -> Callable[..., nbformat.NotebookNode]:
    """Runs a notebook with other values in its cell of settings; nothing of the committed outputs is left."""

    def call(name: str, **values: object) -> nbformat.NotebookNode:
        notebook = read(name)
        for cell in code(notebook):
            cell.outputs, cell.execution_count = [], None
        cell = settings_of(notebook)
        for key, value in values.items():
            cell.source, count = re.subn(rf"^{key} = .*$", f"{key} = {value!r}", cell.source, flags=re.MULTILINE)
            assert count == 1, f"{name}: no setting {key}"
        clear = nbformat.v4.new_code_cell(f"%reset -f\n%cd -q {tmp_path}")
        notebook.cells.insert(0, clear)
        client = NotebookClient(notebook, km=kernel, timeout=300, iopub_timeout=60)
        client.execute()
        client.kc.stop_channels()
        return notebook

    return call


def check_alike(executed: nbformat.NotebookNode, name: str) -> None:
    """The notebook as it ran shows what the committed one does, less its figures: the outputs are not of older code."""
    committed = read(name)
    assert pictures(executed) == pictures(committed)
    assert [columns for columns, _ in tables(executed)] == [columns for columns, _ in tables(committed)]
    assert not complaints(executed)


@pytest.mark.parametrize("name", NAMES)
def test_committed_notebook_is_whole_clean_and_small(name):
    notebook = read(name)
    assert (FOLDER / f"{name}.ipynb").stat().st_size < 400_000
    cells = code(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))  # from top to bottom, once
    assert not complaints(notebook)
    drawing = [cell.source for cell in cells if "plt.subplots" in cell.source or "Image(" in cell.source]
    assert pictures(notebook) == drawing and drawing
    assert tables(notebook)
    local = re.findall(r"(?<![\w.:/<&;])/(?:[\w.-]+/)+[\w.-]*", texts(notebook) + settings_of(notebook).source)
    assert not local
    if "ROOT" in settings_of(notebook).source:
        assert re.search(r"^ROOT = None\b", settings_of(notebook).source, re.MULTILINE)


def test_every_notebook_is_tested():
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == NAMES


def test_csv_notebook_recommends_from_the_departments_that_it_was_not_told_of(execute):
    notebook = execute(NAMES[0], EPOCHS=6)
    check_alike(notebook, NAMES[0])
    shares = re.search(r"recommendations (\d+)%, purchases (\d+)%, drawn at random (\d+)%", texts(notebook))
    recommended, bought, chance = map(int, shares.groups())
    assert chance < recommended and chance < bought
    lists = [rows for columns, rows in tables(notebook) if "score" in columns]
    columns = next(columns for columns, _ in tables(notebook) if "score" in columns)
    assert columns[1:] == ["user", "rank", "item", "score", "title"]
    assert all(len(rows) == 5 for rows in lists) and len(lists) == 3
    *_, newcomer = lists
    assert not {row[5] for row in newcomer} & {"small ukulele", "classic capo", "light bird feeder"}
    files = {row[1] for row in tables(notebook)[-1][1]}
    assert {"config.yaml", "metrics.json", "metrics.csv", "checkpoints/best.ckpt"} <= files


@pytest.mark.long
@needs_data
def test_graph_notebook_measures_popularity_as_the_library_does_and_explains_every_score(execute, tmp_path):
    notebook = execute(NAMES[1], ROOT=str(DATA), EPOCHS=1)
    check_alike(notebook, NAMES[1])  # that contributions sum to the score is asserted in it
    gains = {row[0]: float(row[1]) for columns, rows in tables(notebook) if "difference" in columns for row in rows}
    assert set(gains) == {"MF less most popular", "LightGCN less MF", "NGCF less MF", "LightGCN less NGCF"}
    run = tmp_path / "runs" / "graph" / "MF"
    test = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["test"]
    assert gains["MF less most popular"] == pytest.approx(test["ndcg@10"] - popularity_ndcg(run), abs=1e-4)
    assert gains["LightGCN less MF"] - gains["NGCF less MF"] == pytest.approx(gains["LightGCN less NGCF"], abs=2e-4)
    (shares,) = [rows for columns, rows in tables(notebook) if "share a genre" in columns]
    assert [row[0] for row in shares] == ["any two films", "MF", "LightGCN", "NGCF"]
    assert all(0 < float(row[1]) < 1 for row in shares)


def popularity_ndcg(run: Path) -> float:
    """ndcg@10 of the films with most ratings, by the library's own metric."""
    import torch

    from recgnn.data.interactions.prepared import PreparedLog
    from recgnn.evaluation.metrics import RankingMetrics

    log = PreparedLog.load(run / "vocabulary")
    scores = torch.tensor(log.items.frequency, dtype=torch.float64).repeat(log.num_users, 1)
    scores -= torch.arange(log.num_items) * 1e-6  # ties by row
    for part in (log.train, log.val):
        scores[torch.from_numpy(part.user), torch.from_numpy(part.item)] = -torch.inf
    metric = RankingMetrics(log.num_items, [10], ["ndcg"])
    labels = torch.from_numpy(log.test.user), torch.from_numpy(log.test.item)
    metric.update(scores.topk(10).indices, *labels)
    return float(metric.compute()["ndcg@10"])


@pytest.mark.long
@needs_data
def test_clicks_notebook_calibrates_and_its_onnx_file_gives_the_model_s_probabilities(execute):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} lacks; pip install recgnn[export]")
    notebook = execute(NAMES[2], ROOT=str(DATA), EPOCHS=2)
    check_alike(notebook, NAMES[2])
    (difference,) = re.findall(r"largest difference of 10,000 probabilities: (\S+)", texts(notebook))
    assert float(difference) < 1e-5
    metrics = {row[0]: [float(x) for x in row[1:]] for row in table_with(notebook, "validation")}
    assert metrics["auc"][1] > 0.7
    before_after = {row[0]: [float(x) for x in row[1:]] for row in table_with(notebook, "calibrated", "as trained")}
    assert before_after["auc"][0] == before_after["auc"][1] == metrics["auc"][1]  # the order stays
    assert before_after["logloss"][0] == metrics["logloss"][1]
    assert before_after["logloss"][1] < before_after["logloss"][0] + 0.005
    scored = table_with(notebook, "prediction")
    assert scored[-1][1] == "99999" and all(0 < float(row[-1]) < 1 for row in scored)
    assert {row[1] for row in table_with(notebook, "file")} >= {"model.onnx", "score.py", "encoding.json", "README.md"}


@pytest.mark.long
@needs_data
def test_din_notebook_splits_the_weights_into_parts(execute):
    notebook = execute(NAMES[3], ROOT=str(DATA), EPOCHS=1, HISTORY=5)
    check_alike(notebook, NAMES[3])
    compared = {row[0]: [float(x) for x in row[1:]] for row in table_with(notebook, "best_epoch", "auc")}
    assert set(compared) == {"base model", "DIN"} and all(values[1] > 0.55 for values in compared.values())
    shares = {row[0]: float(row[1]) for row in table_with(notebook, "share of the variance")}
    assert set(shares) == {"the past film", "the target", "the pair"}
    assert sum(shares.values()) == pytest.approx(1, abs=0.002)  # the design is balanced: nothing is counted twice
    ((*_, low, high, spread),) = table_with(notebook, "difference", "spread")
    assert float(low) < float(high) and float(spread) > 0


@pytest.mark.long
@needs_data
def test_system_notebook_serves_what_it_loads_and_takes_over_the_new_day(execute):
    for package in ("fastapi", "uvicorn", "prometheus_client"):
        pytest.importorskip(package, reason=f"{package} lacks; pip install recgnn[serve]")
    notebook = execute(NAMES[4], ROOT=str(DATA), USERS=100, EPOCHS=1)
    check_alike(notebook, NAMES[4])
    assert [row[0] for row in table_with(notebook, "ndcg@10", "milliseconds")][0] == "EASE"
    ((same, all_lists),) = re.findall(r"(\d+) of (\d+) lists are the same", texts(notebook))
    assert same == all_lists and int(same) > 10
    assert all(int(number) > 0 for _, *row in table_with(notebook, "users", "films") for number in row)
    answers = [row[1:3] for row in table_with(notebook, "models of", "source")]
    assert answers == [["day one", "popularity"]] * 3 + [["day two", "model"]] * 3
