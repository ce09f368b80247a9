"""Seven days of MovieLens-1M: `fit --from_run` from each day to the next, beside training anew every day.

Each day is tested by a model that was validated on the day before it and trained on all before that. Of the copy in
`$RECGNN_DATA/ml-1m`, the ratings with a time are taken.

    python benchmarks/fresh_days.py --model MF --seed 42 --output /tmp/fresh-mf
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

from recgnn.cli.entry import main as command

DAYS = [f"2000-11-{day}" for day in range(22, 30)]  # the first one is where both begin


def fitted(options: list[str], run: Path) -> dict[str, float]:
    """Fit a run unless it is there; return its NDCG@10 on test and the seconds of its training and evaluation."""
    if not (run / "metrics.json").is_file():
        begin = time.perf_counter()
        command("fit", [*options, f"--run_dir={run}", "--overwrite=true"])
        (run / "wall.json").write_text(json.dumps(time.perf_counter() - begin))
    content = json.loads((run / "metrics.json").read_text())
    about = content.get("from_run", {})
    wall = json.loads((run / "wall.json").read_text())
    found = {"ndcg@10": content["test"]["ndcg@10"], "seconds": content["seconds"], "wall": round(wall, 1),
             "epochs": content["epochs"]}  # fmt: skip
    found["rows"] = about.get("trained_on", content["dataset"]["train"])
    known = about.get("known_and_new", {})
    return found | {f"new_{side}": counts[1] for side, counts in known.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="MF")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--output", type=Path, required=True)
    given, more = parser.parse_known_args()  # what is left are options of fit
    source = Path(os.environ["RECGNN_DATA"]) / "ml-1m" / "ratings.parquet"
    common = ["--data=GraphDataModule", "--data.source=TableLog", f"--data.source.path={source}",
              "--data.source.on_missing=drop", "--data.positive=all", "--data.split=DailySplit",
              f"--model={given.model}", f"--seed_everything={given.seed}", "--trainer.logger=false",
              "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu", *more]  # fmt: skip
    rows, last = [], given.output / "anew" / DAYS[0]
    fitted([*common, f"--data.split.day={DAYS[0]}"], last)
    for day in DAYS[1:]:
        own = [*common, f"--data.split.day={day}"]
        anew = fitted(own, given.output / "anew" / day)
        fresh = fitted([*own, f"--from_run={last}"], given.output / "fresh" / day)
        last = given.output / "fresh" / day
        rows.append({"day": day, "anew": anew, "fresh": fresh})
        print(json.dumps(rows[-1]), flush=True)
    for name in ("ndcg@10", "seconds", "wall"):
        anew, fresh = (sum(row[of][name] for row in rows) / len(rows) for of in ("anew", "fresh"))
        print(f"{name}: anew {anew:.4f}, from the day before {fresh:.4f}, {fresh / anew:.1%}")


if __name__ == "__main__":
    main()
