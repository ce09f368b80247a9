"""Speed of CTR models beside peers in the same run, as Markdown tables.

    python benchmarks/speed.py ctr --peers <folder that keeps their environments>

On a seeded table of the shape of Criteo's log (see `criteo_shaped.py`): 26 categorical fields of 1M values in all, 13
numbers, embedding 16, hidden layers 400-400-400, batch 4,096, one epoch of 400,000 rows, Adam 1e-3. Every side is a
process of its own (see `peers/`), they take turns, and the median of the turns is shown. Peers are installed in
environments of their own. `--parts` chooses: `deep` (DeepFM, Wide & Deep), `fm`, `ffm`, `vocabulary` (a step with 1M
and with 10M rows of tables), `large` (an epoch of 20M rows on disk: time and memory).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import criteo_shaped  # noqa: E402
from sides import SHOWN, compare, run  # noqa: E402

OURS = {
    "dense": ["recgnn_ctr", "--tables", "adam"],
    "lazy Adam": ["recgnn_ctr", "--tables", "lazy_adam"],
    "row-wise Adagrad": ["recgnn_ctr", "--tables", "rowwise_adagrad", "--table_lr", "0.02"],
    "lazy Adam, bf16": ["recgnn_ctr", "--tables", "lazy_adam", "--precision", "bf16-mixed"],
}


def show(title: str, found: dict[str, dict], peers: list[str]) -> None:
    """A table, with how many times as fast as each peer."""
    print(f"\n### {title}\n")
    names = [f"times {found[peer]['peer']}: training, prediction" for peer in peers]
    print("| | train rows/s | predict rows/s | AUC | peak MB | CPU s |" + "".join(f" {name} |" for name in names))
    print("|---" * (6 + len(names)) + "|")
    for name, row in found.items():
        cells = [name, *(f"{row[key]:,.0f}" for key in SHOWN[:2]), f"{row['auc']:.4f}"]
        cells += [f"{row['peak_mb']:,.0f}", f"{row['cpu_seconds']:.1f}"]
        for peer in peers:
            cells.append(", ".join(f"{row[key] / found[peer][key]:.2f}" for key in SHOWN[:2]))
        print(f"| {' | '.join(cells)} |", flush=True)
    if (encoded := [row["encoded_rows_per_minute"] for row in found.values() if "encoded_rows_per_minute" in row]):
        print(f"\nencoding: {min(encoded):,.0f} to {max(encoded):,.0f} rows a minute")


def of(table: Path) -> list[str]:
    """The options that name a table's files."""
    return ["--train", str(table / "train.parquet"), "--test", str(table / "test.parquet")]


def vocabulary(threads: int) -> None:
    """A training step of DeepFM with 1M and with 10M rows, ids drawn by Zipf's law from all of them."""
    import numpy as np
    import torch
    from lightning import seed_everything

    import recgnn.cli.training  # noqa: F401  (the allocator's settings)
    from recgnn.models import DeepFM
    from recgnn.training.clicks import ClickTraining

    torch.set_num_threads(threads)
    print("\n### A step, by the number of rows of the tables\n")
    print("| tables | 1M rows, ms | 10M rows, ms | ratio |\n|---|---|---|---|")
    for rule in ("lazy_adam", "rowwise_adagrad"):
        seconds: dict[int, list[float]] = {}
        sides = {}
        for rows in (1_000_000, 10_000_000):
            seed_everything(0, verbose=False)
            random, sizes = np.random.default_rng(0), criteo_shaped.sizes(rows)
            dims = [2] * 13 + sizes
            training = ClickTraining(DeepFM(dims), l2=0.0, table_optimizer=rule)
            starts, batches = np.cumsum([0, *dims])[:-1], []
            for _ in range(8):  # ids by Zipf's law, exponent 1
                ids = [np.exp(random.random((4096, 1)) * np.log(size)).astype(np.int64) for size in sizes]
                ids = [np.ones((4096, 13), dtype=np.int64), *ids]
                batches.append(torch.from_numpy(np.concatenate(ids, 1) - 1 + starts).int())
            sides[rows] = (training.model, training.configure_optimizers(), batches)
            seconds[rows] = []
        labels = torch.randint(0, 2, (4096,)).float()
        for turn in range(30):
            for rows, (model, optimizer, batches) in sides.items():
                started = time.perf_counter()
                optimizer.zero_grad()
                torch.nn.functional.binary_cross_entropy_with_logits(model(batches[turn % 8]), labels).backward()
                optimizer.step()
                seconds[rows].append(time.perf_counter() - started)
        small, large = (statistics.median(seconds[rows][4:]) * 1e3 for rows in sides)
        print(f"| {rule} | {small:.1f} | {large:.1f} | {large / small:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=Path, required=True, help="folder that keeps the peers' environments")
    parser.add_argument("--data", type=Path, required=True, help="folder of the made-up tables; made where missing")
    parser.add_argument("--parts", nargs="+", default=["deep", "fm", "ffm", "vocabulary"])
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    table = options.data / f"criteo-{options.rows}"
    if not (table / "test.parquet").is_file():
        criteo_shaped.make(table, options.rows, options.rows // 4)
    threads = ["--threads", str(options.threads)]
    if "deep" in options.parts:
        for model in ("deepfm", "widedeep"):
            sides = {"DeepCTR-Torch": ["deepctr_torch"], "torch-rechub": ["torch_rechub"]}
            sides |= {f"recgnn, {name}": side for name, side in OURS.items()}
            found = compare(sides, options.turns, options.peers, *of(table), "--model", model, *threads)
            show(model, found, ["DeepCTR-Torch", "torch-rechub"])
    if "fm" in options.parts:
        sides = {"one table per field": ["per_field_fm"]} | {f"recgnn, {n}": OURS[n] for n in list(OURS)[:3]}
        found = compare(sides, options.turns, options.peers, *of(table), "--model", "fm", *threads)
        show("fm", found, ["one table per field"])
    if "ffm" in options.parts:
        small = options.data / "criteo-ffm"
        if not (small / "test.parquet").is_file():
            criteo_shaped.make(small, 60_000, 20_000, vocabulary=100_000)
        sides = {"RecBole": ["recbole_ffm"], "recgnn, dense": OURS["dense"], "recgnn, lazy Adam": OURS["lazy Adam"]}
        found = compare(sides, options.turns, options.peers, *of(small), "--model", "ffm", "--dim", "4", *threads)
        show("ffm, embedding 4, 100,000 values, 60,000 rows", found, ["RecBole"])
    if "vocabulary" in options.parts:
        vocabulary(options.threads)
    if "large" in options.parts:
        large = options.data / "criteo-20000000"
        if not (large / "test.parquet").is_file():
            criteo_shaped.make(large, 20_000_000, 100_000)
        given = [*of(large), "--model", "fm", *threads]
        print(json.dumps(run(*OURS["row-wise Adagrad"], *given, folder=options.peers)))


if __name__ == "__main__":
    main()
