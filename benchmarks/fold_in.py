"""Folding users in against training with them: LightGCN on Gowalla.

    python benchmarks/fold_in.py --root <folder with Gowalla's train and test> --runs runs/fold_in

The softmax recipe is trained twice: with all users, and without 1,000 of them, drawn at random, whose interactions it
never sees. Then the 1,000 are taken in from their training items, in two ways: `fold_in`, which brings the items that
nobody else has into the catalogue too, and `recommend_history`, which leaves everything else as it is. All are measured
on the test items of the 1,000 by the same protocol: all items are ranked, the user's training items left out, and test
items that a model does not know count as missed. A finished training is not repeated.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("WANDB_MODE", "disabled")

import time  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import torch  # noqa: E402

from recgnn import load  # noqa: E402
from recgnn.cli.entry import main as recgnn  # noqa: E402
from recgnn.data import Gowalla  # noqa: E402
from recgnn.data.interactions.graph import UserItems  # noqa: E402

RECIPE = Path(__file__).parents[1] / "conf/recipes/lightgcn_softmax_gowalla.yaml"
K = 20


def trained(folder: Path, frame: pd.DataFrame, epochs: int | None, seed: int):
    """The run of a log, trained unless it is there."""
    if not (folder / "metrics.json").is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        table = folder.parent / f"{folder.name}.parquet"
        frame.to_parquet(table)
        argv = ["--config", str(RECIPE), "--data.source=TableLog", f"--data.source.path={table}"]
        argv += [f"--run_dir={folder}", "--overwrite=true", f"--seed_everything={seed}", "--trainer.logger=false"]
        recgnn("fit", argv + ([] if epochs is None else [f"--trainer.max_epochs={epochs}"]))
    return load(folder)


def top(recommender, users: np.ndarray) -> pd.DataFrame:
    """The best items of users, those of train left out: columns user, rank, item."""
    prepared = recommender.prepared
    known = UserItems.from_pairs(*map(torch.tensor, (prepared.train.user, prepared.train.item)), prepared.num_users)
    rows = torch.from_numpy(prepared.users.require(users, "user"))
    _, items = recommender.model.recommend(rows, K, known.of(rows))
    ids = prepared.items.decode(items.numpy()).ravel()
    return pd.DataFrame({"user": np.repeat(users, K), "rank": np.tile(np.arange(1, K + 1), len(users)), "item": ids})


def measured(lists: pd.DataFrame, test: pd.DataFrame) -> tuple[float, float]:
    """Recall@20 and NDCG@20, the means over the users of `test`."""
    hits = lists.merge(test[["user", "item"]], on=["user", "item"])
    count = test.groupby("user").size()
    found = hits.groupby("user").size().reindex(count.index, fill_value=0)
    gain = (1 / np.log2(hits["rank"] + 1)).groupby(hits["user"]).sum().reindex(count.index, fill_value=0.0)
    ideal = np.cumsum(1 / np.log2(np.arange(2, K + 2)))[count.clip(upper=K).to_numpy() - 1]
    return float((found / count).mean()), float((gain / ideal).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", help="folder of Gowalla's files; downloaded when not given")
    parser.add_argument("--epochs", type=int, help="of each training; the recipe's when not given")
    parser.add_argument("--users", type=int, default=1000, help="how many are held out")
    parser.add_argument("--seed", type=int, default=42, help="of the draw and of the trainings")
    parser.add_argument("--runs", default="runs/fold_in", help="where the run folders go")
    options = parser.parse_args()
    log = Gowalla(root=options.root).read().interactions[["user", "item", "split"]]
    users = np.sort(np.random.default_rng(options.seed).choice(log["user"].unique(), options.users, replace=False))
    own = log["user"].isin(users)
    history, test = (log[own & (log["split"] == part)] for part in ("train", "test"))
    folder = Path(options.runs)
    whole = trained(folder / "with", log, options.epochs, options.seed)
    part = trained(folder / f"without-{options.users}-{options.seed}", log[~own], options.epochs, options.seed)
    start = time.perf_counter()
    folded = part.fold_in(history)
    seconds = time.perf_counter() - start
    if set(folded.prepared.items.ids) != set(whole.prepared.items.ids):
        raise SystemExit("the two catalogues differ; what is compared would not be the same")
    start = time.perf_counter()
    alone = part.recommend_history(history, K, fallback="popularity")
    seconds_alone = time.perf_counter() - start
    new = folded.prepared.num_items - part.prepared.num_items
    size = f"{len(users):,} users, {len(history):,} training and {len(test):,} test interactions"
    print(f"{size}; {new} items are theirs alone")
    print(f"fold_in takes {seconds:.1f} s, recommend_history, lists included, {seconds_alone:.1f} s")
    best = measured(top(whole, users), test)
    print(f"| | recall@{K} | ndcg@{K} | ratio of recall | ratio of ndcg |\n|---|---|---|---|---|")
    rows = {"trained with them": best, "fold_in": measured(top(folded, users), test)}
    rows |= {"recommend_history": measured(alone, test)}
    for name, (recall, ndcg) in rows.items():
        print(f"| {name} | {recall:.4f} | {ndcg:.4f} | {recall / best[0]:.3f} | {ndcg / best[1]:.3f} |")


if __name__ == "__main__":
    main()
