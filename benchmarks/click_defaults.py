"""The defaults of click models on logs of which nothing is declared but the label, beside the simple methods.

    python benchmarks/click_defaults.py --root <folder of the data sets> --output table.jsonl

Every run is `recgnn.fit` with a source, a label and a model, and nothing else: fields are guessed, batch size,
regularisation and patience follow the rules. `declared` are runs with the fields that the recipes declare. A line of
JSON for each run goes to --output, whose lines are not run again; at the end the table is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import default_runs  # noqa: E402

MODELS = ("LR", "Poly2", "FM", "FFM", "WideDeep", "DeepFM", "DCNv2", "DIN", "BST")
SEQUENCES = ("DIN", "BST")
FILMS: dict[str, Any] = dict.fromkeys(("user", "item", "age", "gender", "occupation", "zip"), "categorical")
FILMS |= {"genres": {"kind": "multi", "combine": "mean"}}
CONTEXT = ("daytime", "weekday", "isweekend", "homework", "cost", "weather", "country", "city")
LOG2 = {"kind": "numeric", "transform": "log2"}


def logs(root: Path) -> dict[str, dict[str, Any]]:
    """Return the arguments of the data module by log, `fields` being what the recipes declare."""
    items = {"item_fields": ["item", "genres"]}
    return {
        "criteo-10k": {
            "source": source("EventTable", path=str(root / "criteo-10k" / "criteo_10k.parquet")),
            "fields": {f"I{n}": LOG2 for n in range(1, 14)} | {f"C{n}": "categorical" for n in range(1, 27)},
        },
        "frappe": {
            "source": source("Frappe", root=str(root / "frappe")),
            "fields": dict.fromkeys(("user", "item", *CONTEXT), "categorical"),
        },
        "ml-100k-time": {
            "source": source("MovieLens100K", root=str(root / "ml-100k")), "label": "rating >= 4", "history": items,
            "split": {"class_path": "RatioSplit", "init_args": {"by": "user", "order": "time"}},
            "fields": FILMS | {"release_year": "categorical"},
        },
        "beauty": {
            "source": source("AmazonBeauty", root=str(root / "amazon-beauty")), "negatives": 1,
            "split": {"class_path": "LeaveOneOut"}, "history": {"item_fields": ["item", "attributes"]},
            "fields": {"user": "categorical", "item": "categorical", "attributes": {"kind": "multi"}},
        },
        "ml-1m": {
            "source": source("MovieLens1M", root=str(root / "ml-1m")), "label": "rating >= 4", "history": items,
            "fields": FILMS,
        },
    }  # fmt: skip


def source(name: str, **arguments: str) -> dict[str, Any]:
    return {"class_path": name, "init_args": arguments}


def run(data: dict[str, Any], model: str, declared: bool, seed: int, simple: bool) -> dict[str, Any]:
    """Fit a model with its defaults; returns what metrics.json has, with the chosen values and the seconds."""
    own = {name: value for name, value in data.items() if name not in ("fields", "history")}
    own |= {"fields": data["fields"]} if declared else {}
    own |= {"history": data["history"]} if model in SEQUENCES else {}
    config = {
        "seed_everything": seed, "data": {"class_path": "CTRDataModule", "init_args": own},
        "model": {"class_path": model}, "trainer": {"logger": False, "enable_progress_bar": False},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        found, chosen, seconds = default_runs.run(config, Path(folder), simple)
    settings = SimpleNamespace(**{"history": None} | chosen["data"]["init_args"])
    found |= {"l2": chosen["training"]["init_args"]["l2"], "batch": settings.batch_size, "seconds": seconds}
    return found | {"cut": settings.epochs_per_pass}


def table(lines: list[dict[str, Any]]) -> str:
    """Return the lines as Markdown."""
    rows = ["| log | model | validation AUC | test AUC | log loss | normalised entropy | best epoch | CPU s |"]
    rows.append("|" + "---|" * 8)

    def row(log: str, name: str, val: dict, test: dict, best: str = "", seconds: str = "") -> None:
        figures = [val.get("auc"), test["auc"], test["logloss"], test["ne"]]
        cells = ["–" if x is None else f"{x:.4f}" for x in figures]
        rows.append("| " + " | ".join([log, name, *cells, best, seconds]) + " |")

    for line in lines:
        name = line["model"] + ", declared fields" * line["declared"]
        for other, values in line.get("baselines", {}).items():
            if other != "constant" and line["model"] == "LR":
                row(line["log"], f"{other} (yardstick)", values["val"], values["test"])
        best = f"{line['best_epoch']} of {line['epochs']} ({line['cut']} a pass)"
        row(line["log"], name, line["val"], line["test"], best, str(line["seconds"]))
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=os.environ.get("RECGNN_DATA"), help="folder of the data sets")
    parser.add_argument("--output", default="click_defaults.jsonl", help="a line of JSON for each run")
    parser.add_argument("--logs", nargs="+", help="some of the logs")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--declared", nargs="*", default=["DeepFM"], help="models with declared fields too")
    parser.add_argument("--seed", type=int, default=42)
    options = parser.parse_args()
    known, output = logs(Path(options.root)), Path(options.output)
    done = [json.loads(line) for line in output.read_text().splitlines()] if output.exists() else []
    for log in options.logs or known:
        for model in options.models:
            for declared in [False, True][: 1 + (model in options.declared)]:
                key = {"log": log, "model": model, "declared": declared, "seed": options.seed}
                if (model in SEQUENCES and "history" not in known[log]) or any(key.items() <= x.items() for x in done):
                    continue
                done.append(key | run(known[log], model, declared, options.seed, model == "LR"))
                with output.open("a") as file:
                    file.write(json.dumps(done[-1]) + "\n")
                print(key, done[-1]["test"], file=sys.stderr, flush=True)
    print(table(done))


if __name__ == "__main__":
    main()
