"""DeepFM on MovieLens with and without the vectors of a recommender's run as fields of user and item.

Of each user's ratings the last tenth is test and the tenth before it validation, written into the log, so that both
runs have it. The recommender is trained on all ratings of train, whatever their stars: so its vectors know which films
a user has seen, and not the labels that DeepFM is trained on. (`--positive "rating >= 4"` shows what happens if they
do.)

    python benchmarks/vector_fields.py --data ml-1m --every 3 --seeds 1 2 3 --output /tmp/vectors
    python benchmarks/vector_fields.py --data ml-1m --every 3 --seeds 1 2 3 --output /tmp/vectors --test

The second command trains nothing, and reads the test part.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd

from recgnn.cli.entry import main as command

CONF = Path(__file__).parents[1] / "conf"
QUIET = ["--trainer.logger=false", "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]
FIELDS = {"user": "categorical", "item": "categorical", "age": "categorical", "gender": "categorical",
          "occupation": "categorical", "zip": "categorical",
          "genres": {"kind": "multi", "separator": "|", "combine": "mean"}}  # fmt: skip


def written(name: str, every: int, folder: Path) -> list[str]:
    """Write the log of every n-th user with its split, and return the options of the source."""
    root = Path(os.environ["RECGNN_DATA"]) / name
    log = pd.read_parquet(root / "ratings.parquet")
    log = log[log["user"] % every == 0].sort_values(["user", "pos" if "pos" in log else "timestamp"], kind="stable")
    count, place = log.groupby("user")["item"].transform("size"), log.groupby("user").cumcount()
    tenth = np.maximum(1, (count * 0.1).round())
    log["split"] = np.select([place >= count - tenth, place >= count - 2 * tenth], ["test", "val"], "train")
    folder.mkdir(parents=True, exist_ok=True)
    log[["user", "item", "rating", "split"]].to_parquet(folder / "log.parquet")
    items = root / ("items.parquet" if name == "ml-100k" else "movies.parquet")
    return ["--data.source=TableLog", f"--data.source.path={folder / 'log.parquet'}", "--data.split=GivenSplit",
            f"--data.source.items={items}", f"--data.source.users={root / 'users.parquet'}"]  # fmt: skip


def fitted(options: list[str], run: Path) -> dict:
    """Fit a run unless it is there; return its metrics.json."""
    if not (run / "metrics.json").is_file():
        start = time.process_time()
        command("fit", [*options, *QUIET, f"--run_dir={run}", "--overwrite=true"])
        print(f"{run}: {time.process_time() - start:.0f} CPU seconds", flush=True)
    return json.loads((run / "metrics.json").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="ml-100k", choices=("ml-100k", "ml-1m"))
    parser.add_argument("--every", type=int, default=1, help="take every n-th user")
    parser.add_argument("--retriever", default="LightGCN")
    parser.add_argument("--retriever_options", nargs="*", default=["--trainer.max_epochs=40"])
    parser.add_argument("--positive", help="what the retriever is trained on; all ratings by default")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--fields", nargs="+", default=["without", "frozen", "trained"])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--test", action="store_true", help="print the figures of test, not those of validation")
    given, more = parser.parse_known_args()  # what is left are options of DeepFM
    source, base = written(given.data, given.every, given.output), given.output / given.retriever
    liked = [] if given.positive is None else [f"--data.positive={given.positive}"]
    base = base.with_name(base.name + "-liked" * bool(liked))
    retriever = fitted(["--data=GraphDataModule", *source, *liked, f"--model={given.retriever}",
                        "--model.embedding_dim=32", "--data.batch_size=2048", *given.retriever_options],
                       base)  # fmt: skip
    print(f"{base.name}: validation ndcg@10 {retriever['val']['ndcg@10']:.4f}", flush=True)
    own = {side: {"kind": "categorical", "vectors": str(base)} for side in ("user", "item")}
    kinds = {"without": FIELDS, "frozen": FIELDS | own,
             "trained": FIELDS | {side: of | {"trained": True} for side, of in own.items()}}  # fmt: skip
    part, found = "test" if given.test else "val", dict[str, list[float]]()
    for seed in given.seeds:
        for name in given.fields:
            options = [f"--config={CONF / 'recipes/deepfm_ml1m.yaml'}", *source,
                       f"--data.fields={json.dumps(kinds[name])}", f"--seed_everything={seed}", *more]  # fmt: skip
            run = f"{name}{'-liked' * bool(liked) * (name != 'without')}-{seed}"
            content = fitted(options, given.output / run)
            values = content[part]
            found.setdefault(name, []).append(values["auc"])
            told = f"auc {values['auc']:.5f} logloss {values['logloss']:.5f}"
            print(f"{run} {part} {told} epoch {content['best_epoch']} of {content['epochs']}", flush=True)
    for name, values in found.items():
        spread = np.std(values, ddof=1) if len(values) > 1 else 0
        print(f"{name}: {part} AUC {np.mean(values):.4f} ± {spread:.4f}")


if __name__ == "__main__":
    main()
