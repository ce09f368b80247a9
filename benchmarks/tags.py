"""PITF beside the most popular tags of the film, of the user and of all, on the tags of MovieLens latest small.

    python benchmarks/tags.py [--root FOLDER] [--seeds 1 2 3]

Each seed sets the split and the training. NDCG@5 is computed here by a loop over the test pairs, for PITF too, and
compared with the run's own.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable
from tempfile import TemporaryDirectory

import numpy as np

from recgnn import load
from recgnn.cli.entry import main
from recgnn.data.interactions.compound import Parts
from recgnn.data.interactions.prepared import PreparedLog

K = 5


def ndcg(log: PreparedLog, scores: Callable[[int], np.ndarray]) -> float:
    """Average NDCG@5 over the pairs of the test part, without the tags that they have in train and validation."""
    labels, seen = defaultdict(set), defaultdict(set)
    for part, found in ((log.train, seen), (log.val, seen), (log.test, labels)):
        for pair, tag in zip(part.user.tolist(), part.item.tolist(), strict=True):
            found[pair].add(tag)
    values = []
    for pair, wanted in labels.items():
        ranked = [tag for tag in np.argsort(-scores(pair), kind="stable").tolist() if tag not in seen[pair]][:K]
        gain = sum(1 / np.log2(rank + 2) for rank, tag in enumerate(ranked) if tag in wanted)
        values.append(gain / sum(1 / np.log2(rank + 2) for rank in range(min(K, len(wanted)))))
    return float(np.mean(values))


def compare(root: str | None, seed: int) -> dict[str, float]:
    """Train PITF and measure it and the popular tags."""
    with TemporaryDirectory() as folder:
        options = [f"--seed_everything={seed}", f"--data.split.seed={seed}", f"--run_dir={folder}/run"]
        options += ["--trainer.logger=false", "--trainer.enable_progress_bar=false"]
        main("fit", ["--config", "conf/pitf.yaml", *options, *([f"--data.source.root={root}"] if root else [])])
        with open(f"{folder}/run/metrics.json", encoding="utf-8") as file:
            own = json.load(file)["test"]["ndcg@5"]
        run = load(f"{folder}/run")
    log, (user, item) = run.prepared, [x.detach().numpy() for x in run.model.embeddings()]
    codes, tags = Parts(log.users).codes, np.arange(log.num_items)
    common = np.bincount(log.train.item, minlength=len(tags))
    counts = []
    for side in (0, 1):
        table = np.zeros((codes[:, side].max() + 1, len(tags)))
        np.add.at(table, (codes[log.train.user, side], log.train.item), 1)
        counts.append(lambda pair, table=table, side=side: table[codes[pair, side]] + common / 1e6)  # ties by all
    found = {"PITF": ndcg(log, lambda pair: item @ user[pair]), "film": ndcg(log, counts[1])}
    found |= {"user": ndcg(log, counts[0]), "all": ndcg(log, lambda pair: common)}
    assert abs(found["PITF"] - own) < 1e-3, (found, own)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", help="folder of tags.csv or tags.parquet; downloaded when left out")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    options = parser.parse_args()
    results = [compare(options.root, seed) for seed in options.seeds]
    for name in results[0]:
        values = [result[name] for result in results]
        print(f"{name}: {np.mean(values):.4f} ± {np.std(values, ddof=min(1, len(values) - 1)):.4f} {values}")
