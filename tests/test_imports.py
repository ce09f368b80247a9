"""What is imported by what: asked of one process that does more and more, and so never what it does not need yet."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from recgnn.cli.entry import main

TRAINER = ["lightning", "pytorch_lightning", "torchmetrics", "torch_geometric"]
STEPS = {  # what is done, and what is not imported then
    "the help of every command": (
        """
import contextlib, io
from recgnn.cli.entry import COMMANDS, main_of
import recgnn
for command in COMMANDS:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        main_of(command)(["--help"])
""",
        ["torch", "pandas", "numpy", "yaml", *TRAINER],
    ),
    "names and directions of metrics": (
        "import recgnn.evaluation.reports\nfrom recgnn.evaluation.metrics import METRICS",
        [*TRAINER, "matplotlib.pyplot"],
    ),
    "a figure": (
        "from recgnn.evaluation import figures\nfigures.group_bars([1.0], [1], ['1'], 'x', 't')",
        [*TRAINER, "matplotlib.pyplot"],
    ),
    "a comparison, page and all": (
        """
from recgnn.comparison import compare
with contextlib.redirect_stdout(io.StringIO()):
    compare([RANKING, CLICKS], "compared")
""",
        [*TRAINER, "matplotlib.pyplot", "wandb"],
    ),
    "what serves": (
        """
import recgnn.serving
for run in (RANKING, CLICKS):
    run = recgnn.load(run)
    items = run.recommend([1, 2], k=3)["item"]
    run.similar_items(items, k=2)
run = recgnn.load(RANKING)
run.fold_in(__import__("pandas").DataFrame({"user": [1, 99], "item": [2, 2]})).recommend([99])
run.recommend_history([1, 2])
import recgnn.serving.exporting.export
""",
        TRAINER,
    ),
}


@pytest.fixture(scope="module")
def imported(tiny_run, tmp_path_factory) -> dict[str, list[str]]:
    """By step, what it imported and should not have."""
    folder = tmp_path_factory.mktemp("imports")
    data = ["--data=CTRDataModule", "--data.source=SyntheticLog", "--data.label=rating >= 4"]
    data += ["--data.source.num_users=61", "--data.source.num_items=40"]
    data += ["--data.fields={user: categorical, item: categorical}", "--trainer.accelerator=cpu"]
    model = ["--model=FM", "--model.embedding_dim=4", "--trainer.max_epochs=1", "--trainer.logger=false"]
    main("fit", [*data, *model, f"--run_dir={folder / 'clicks'}"])
    code = [f"import json, sys\nRANKING, CLICKS, found = {str(tiny_run)!r}, {str(folder / 'clicks')!r}, {{}}"]
    for step, (statements, absent) in STEPS.items():
        code += [statements, f"found[{step!r}] = sorted({{*{absent!r}}} & set(sys.modules))"]
    code += ["print(json.dumps(found))"]
    done = subprocess.run([sys.executable, "-c", "\n".join(code)], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "compared/compare.html").is_file()
    return json.loads(done.stdout)


@pytest.mark.parametrize("step", STEPS)
def test_nothing_is_imported_that_is_not_needed(imported, step) -> None:
    assert imported[step] == []
