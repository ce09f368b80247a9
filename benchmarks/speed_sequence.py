"""Speed of DIN and BST beside peers in the same run, as a Markdown table.

    RECGNN_DATA=<folder with ml-1m/> python benchmarks/speed.py sequence --peers <folder> --data <folder>

torch-rechub 0.9.0 on the same prepared rows and histories (MovieLens-1M, users of its first 100,000 ratings, up to
100 past films, of whatever number there is), like sizes, one epoch; RecBole 1.2.1 DIN on MovieLens-100K with histories
of 50, with its own sizes and with recgnn's. Every side is a process of its own, they take turns, and the median of the
turns is shown. `--peers` keeps the peers' environments, `--data` what is prepared.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import sequence_data  # noqa: E402
from sides import SHOWN, compare  # noqa: E402


def show(title: str, found: dict[str, dict], pairs: dict[str, str]) -> None:
    """A table; `pairs` tells which side stands against which peer."""
    print(f"\n### {title}\n")
    print("| | train rows/s | predict rows/s | AUC | peak MB | CPU s | times the peer's training, prediction |")
    print("|---" * 7 + "|")
    for name, row in found.items():
        cells = [name, *(f"{row[key]:,.0f}" for key in SHOWN[:2]), f"{row['auc']:.4f}"]
        cells += [f"{row['peak_mb']:,.0f}", f"{row['cpu_seconds']:.1f}"]
        peer = found.get(pairs.get(name, ""))
        cells.append(", ".join(f"{row[key] / peer[key]:.1f}" for key in SHOWN[:2]) if peer else "")
        print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", default=os.environ.get("RECGNN_DATA"), help="folder that holds ml-1m/ and ml-100k/")
    parser.add_argument("--peers", type=Path, required=True, help="folder that keeps the peers' environments")
    parser.add_argument("--data", type=Path, required=True, help="folder of what is prepared")
    parser.add_argument("--parts", nargs="+", default=["rechub", "recbole"])
    parser.add_argument("--rows", type=int, default=100_000, help="rechub: ratings whose users are taken")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    shared = ["--threads", str(options.threads), "--epochs", str(options.epochs)]
    if "rechub" in options.parts:
        folder = sequence_data.prepare("uneven", f"{options.root}/ml-1m", options.data, options.rows)
        sides, given = {}, ["--data", str(folder), "--batch", "1024", *shared]
        sides["DIN, torch-rechub"] = ["rechub_sequence", "--model", "din", *given, "--patience", "99"]
        sides["DIN, recgnn"] = ["recgnn_sequence", "--model", "din", *given]
        heads = ["--model", "bst", "--heads", "4", "--hidden", "256", "128", "64"]
        sides["BST, torch-rechub, feed-forward 48"] = ["rechub_sequence", *heads, *given, "--feed_forward", "48"]
        sides["BST, recgnn"] = ["recgnn_sequence", *heads, *given]
        tuned = "BST, recgnn, init_std 1e-3, position_std 0.1, lr 2e-3 (by validation)"
        sides[tuned] = [*sides["BST, recgnn"], "--init_std", "1e-3", "--position_std", "0.1", "--lr", "2e-3"]
        pairs = {"DIN, recgnn": "DIN, torch-rechub"}
        pairs |= dict.fromkeys(["BST, recgnn", tuned], "BST, torch-rechub, feed-forward 48")
        found = compare(sides, options.turns, options.peers)
        show("DIN and BST, MovieLens-1M, histories of uneven length up to 100", found, pairs)
    if "recbole" in options.parts:
        folder = sequence_data.prepare("ml-100k", f"{options.root}/ml-100k", options.data)
        sides = {
            "RecBole, its sizes (256-256-256, in the unit too)": ["recbole_din", *shared, "--steps", "5"],
            "RecBole, 80-40": ["recbole_din", *shared, "--hidden", "80", "40", "--steps", "20"],
        }
        given = ["--data", str(folder), "--model", "din", "--batch", "2048", *shared]
        large = ["--dim", "10", "--hidden", "256", "256", "256", "--attention", "256", "256", "256"]
        sides["recgnn, as conf/din.yaml (16, 200-80, unit 80-40, Dice)"] = ["recgnn_sequence", *given]
        sides["recgnn, 80-40, sigmoid"] = [
            *("recgnn_sequence", *given, "--dim", "10", "--hidden", "80", "40", "--attention", "80", "40"),
            *("--activation", "sigmoid"),
        ]
        sides["recgnn, 256-256-256, sigmoid"] = ["recgnn_sequence", *given, *large, "--activation", "sigmoid"]
        first = next(iter(sides))
        pairs = dict.fromkeys([name for name in sides if name.startswith("recgnn")], first)
        pairs["recgnn, 80-40, sigmoid"] = "RecBole, 80-40"
        show("DIN, MovieLens-100K, histories of 50", compare(sides, options.turns, options.peers), pairs)


if __name__ == "__main__":
    main()
