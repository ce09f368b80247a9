"""Quality of the shipped configurations: each trained with several seeds, test metrics in one Markdown table.

    python benchmarks/quality.py --configs conf/mf.yaml conf/lightgcn.yaml --seeds 1 2 3 --root <folder with ml-100k/>

A seed sets the split as well as the training, so that the spread is that of the whole procedure. Further options go to
fit, as --model.lr=0.01.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("WANDB_MODE", "disabled")

import json  # noqa: E402
import statistics  # noqa: E402
from pathlib import Path  # noqa: E402

from recgnn.cli import main as recgnn  # noqa: E402

SHOWN = ("rmse", "mae", "auc", "logloss", "gauc", "recall@10", "ndcg@10", "recall@20", "ndcg@20", "mrr@10")
SHOWN += ("hitrate@10",)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configs", nargs="+", required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--runs", default="runs/quality", help="where the run folders go")
    parser.add_argument("--root", help="folder of the data set's files; downloaded when not given")
    options, further = parser.parse_known_args()
    lines: list[str] = []
    for config in options.configs:
        found = []
        for seed in options.seeds:
            run = Path(options.runs) / Path(config).stem / str(seed)
            if not (run / "metrics.json").is_file():
                argv = ["--config", config, f"--seed_everything={seed}", f"--data.split.seed={seed}"]
                argv += [f"--run_dir={run}", "--overwrite=true", "--trainer.logger=false", *further]
                if options.root:
                    argv.append(f"--data.source.root={options.root}")
                recgnn("fit", argv)
            found.append(json.loads((run / "metrics.json").read_text()))
        shown = [name for name in SHOWN if name in found[0]["test"]]
        if not lines or lines[0].count("|") != len(shown) + 4:
            head = f"| configuration | {' | '.join(shown)} | best epochs | s/epoch |"
            lines = [head, "|---" * (len(shown) + 3) + "|"]
        cells = []
        for name in shown:
            values = [f["test"][name] for f in found]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{statistics.mean(values):.4f} ± {spread:.4f}")
        epochs = ", ".join(str(f["best_epoch"]) for f in found)
        speed = statistics.mean(f["seconds_per_epoch"] for f in found)
        lines.append(f"| {config} | {' | '.join(cells)} | {epochs} | {speed:.2f} |")
        print("\n".join(lines), flush=True)


if __name__ == "__main__":
    main()
