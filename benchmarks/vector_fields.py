"""DeepFM on MovieLens with and without the vectors of a recommender's run as fields of user and item.

One random split of all ratings, 8:1:1, is written into the log, so that both have it; the recommender is trained on the
positives (4 and 5) of its train part.

    python benchmarks/vector_fields.py --data ml-100k --retriever LightGCN --seeds 1 2 3 --output /tmp/vectors
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd

from recgnn.cli.entry import main as command

QUIET = ["--trainer.logger=false", "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]
FIELDS = {"user": "categorical", "item": "categorical", "age": "categorical", "gender": "categorical",
          "occupation": "categorical", "genres": {"kind": "multi", "separator": "|"}}  # fmt: skip


def written(name: str, folder: Path) -> list[str]:
    """Write the log with its split, and return the options of the source."""
    root = Path(os.environ["RECGNN_DATA"]) / name
    log = pd.read_parquet(root / "ratings.parquet")[["user", "item", "rating"]]
    order = np.random.default_rng(42).permutation(len(log)) / len(log)
    log["split"] = np.select([order < 0.8, order < 0.9], ["train", "val"], "test")
    folder.mkdir(parents=True, exist_ok=True)
    log.to_parquet(folder / "log.parquet")
    items = root / ("items.parquet" if name == "ml-100k" else "movies.parquet")
    return ["--data.source=TableLog", f"--data.source.path={folder / 'log.parquet'}", "--data.split=GivenSplit",
            f"--data.source.items={items}", f"--data.source.users={root / 'users.parquet'}"]  # fmt: skip


def fitted(options: list[str], run: Path) -> dict:
    """Fit a run unless it is there; return its metrics.json."""
    if not (run / "metrics.json").is_file():
        command("fit", [*options, *QUIET, f"--run_dir={run}", "--overwrite=true"])
    return json.loads((run / "metrics.json").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="ml-100k", choices=("ml-100k", "ml-1m"))
    parser.add_argument("--retriever", default="LightGCN")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--ranker", default="DeepFM")
    parser.add_argument("--output", type=Path, required=True)
    given, more = parser.parse_known_args()  # what is left are options of the ranker
    source, base = written(given.data, given.output), given.output / given.retriever
    retriever = fitted(["--data=GraphDataModule", *source, f"--model={given.retriever}", "--data.positive=rating >= 4",
                        "--model.embedding_dim=32"], base)  # fmt: skip
    print(f"{given.retriever}: ndcg@10 {retriever['test']['ndcg@10']:.4f} in {retriever['seconds']:.0f} s", flush=True)
    own = {side: {"kind": "categorical", "vectors": str(base)} for side in ("user", "item")}
    found: dict[str, list[float]] = {}
    trained = {side: of | {"trained": True} for side, of in own.items()}
    for seed in given.seeds:
        for name, fields in (("without", FIELDS), ("frozen", FIELDS | own), ("trained", FIELDS | trained)):
            options = ["--data=CTRDataModule", *source, "--data.label=rating >= 4",
                       f"--data.fields={json.dumps(fields)}", f"--model={given.ranker}", f"--seed_everything={seed}",
                       *more]  # fmt: skip
            content = fitted(options, given.output / f"{given.ranker}-{name}-{seed}")
            found.setdefault(name, []).append(content["test"]["auc"])
            print(name, seed, content["test"]["auc"], content["test"]["logloss"], content["seconds"], flush=True)
    for name, values in found.items():
        print(f"{name}: AUC {np.mean(values):.4f} ± {np.std(values, ddof=1) if len(values) > 1 else 0:.4f}")


if __name__ == "__main__":
    main()
