"""Seconds of a training epoch of CDAE and I-AutoRec beside peers in the same run, as a Markdown table.

    RECGNN_DATA=<folder with ml-100k/ and ml-1m/> python benchmarks/speed.py autoencoders

CDAE on MovieLens-100K, every rating a positive, 8:1:1 of each user's at random, stands beside RecBole 1.2.1's own with
its defaults, once as it is shipped and once with RecBole's sizes. RecBole is installed in an environment of its own,
which `--peers FOLDER` keeps. I-AutoRec on MovieLens-1M stands beside the dense products of its epoch alone. An epoch of
recgnn's is one of its Trainer, without evaluation and checkpoints, and a peer's is without them too. Each turn takes
the median of its epochs but the first, the sides take turns, and the median of the turns is shown.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import subprocess
import tempfile
import time
import venv
import warnings
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads measure the scheduler
warnings.filterwarnings("ignore")

import pandas as pd  # noqa: E402
import torch  # noqa: E402

from recgnn.cli.fitting import FitCLI  # noqa: E402
from recgnn.errors import RecGNNError  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
NEEDED = ["numpy", "scipy", "pandas", "scikit-learn", "pyyaml", "tqdm", "colorlog", "colorama", "tabulate", "texttable"]
AS_RECBOLE = [  # RecBole's defaults for CDAE
    "--data.batch_size=2048",
    "--model.hidden_dim=64",
    "--model.hidden_activation=relu",
    "--model.corruption_rate=0.5",
    "--training.loss=Logistic",
    "--training.lr=1e-3",
]


def train(config: str, folder: Path, epochs: int, *options: str) -> tuple[float, FitCLI]:
    """Median seconds of a training epoch by `recgnn fit`, and what it trained. It validates once, at the end."""
    run = folder / "run"
    argv = [f"--config={ROOT / config}", f"--run_dir={run}", "--overwrite=true", *options]
    argv += [f"--trainer.max_epochs={epochs}", f"--trainer.check_val_every_n_epoch={epochs}"]
    argv += ["--trainer.limit_val_batches=1", "--trainer.limit_test_batches=0"]
    argv += ["--trainer.accelerator=cpu", "--trainer.logger=false"]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        cli = FitCLI(argv)
    return pd.read_csv(run / "metrics.csv")["seconds"].iloc[1:].median(), cli


def install_recbole(folder: Path) -> Path:
    """The Python of an environment with RecBole and what its training needs; made where there is none."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (folder / "installed").is_file():
        venv.create(folder, with_pip=True)
        version = torch.__version__.partition("+")[0]
        for wanted in ([f"torch=={version}", *NEEDED], ["--no-deps", "recbole==1.2.1"]):
            pip = [str(python), "-m", "pip", "install", "-qq", *wanted]
            subprocess.run(pip, capture_output=True, text=True, check=True)
        (folder / "installed").touch()
    return python


def train_recbole(python: Path, folder: Path, epochs: int, threads: int) -> dict:
    command = [str(python), str(ROOT / "benchmarks/peers/recbole_cdae.py")]
    command += [f"--epochs={epochs}", f"--threads={threads}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def product_seconds(rows: int, columns: int, hidden: int, size: int, epochs: int) -> float:
    """Median seconds of the dense products of an epoch over rows [rows, columns] in batches of `size`: x V and h W^T,
    and for the gradients out^T h, out W and x^T g."""
    x, out, scores = (torch.randn(size, columns) for _ in range(3))
    h, g, code, to_h = (torch.randn(size, hidden) for _ in range(4))
    v, w, to_v, to_w = (torch.randn(columns, hidden) for _ in range(4))

    def epoch() -> float:
        started = time.perf_counter()
        for start in range(0, rows, size):
            n = min(size, rows - start)
            torch.mm(x[:n], v, out=code[:n])
            torch.mm(h[:n], w.T, out=scores[:n])
            torch.mm(out[:n].T, h[:n], out=to_w)
            torch.mm(out[:n], w, out=to_h[:n])
            torch.mm(x[:n].T, g[:n], out=to_v)
        return time.perf_counter() - started

    return statistics.median([epoch() for _ in range(epochs)][1:])


def row(what: str, ours: list[float], peer: str, theirs: list[float]) -> str:
    mine = statistics.median(ours)
    if not theirs:
        return f"| {what} | {mine:.4f} | {peer} | | |"
    other = statistics.median(theirs)
    return f"| {what} | {mine:.4f} | {peer} | {other:.4f} | {mine / other:.2f} |"


def sizes(hidden: int, batch: int, interactions: int) -> str:
    return f"hidden {hidden}, {batch:,} users a step, {interactions:,} interactions"


def cdae(folder: Path, python: Path | None, options: argparse.Namespace) -> list[str]:
    """The rows of CDAE; without a Python that has RecBole, without a peer."""
    configs = {"CDAE as shipped": [], "CDAE with RecBole's sizes": AS_RECBOLE}
    seconds: dict[str, list[float]] = {name: [] for name in configs}
    names, theirs, peer = {}, [], "RecBole 1.2.1: did not run"
    for _ in range(options.turns):
        for name, changes in configs.items():
            root = f"--data.source.root={options.data}/ml-100k"
            value, cli = train("conf/cdae.yaml", folder, options.epochs, root, *changes)
            seconds[name].append(value)
            module = cli.datamodule
            size = sizes(cli.model.first.weight.shape[1], module.batch_size, len(module.prepared.train))
            names[name] = f"{name}, ML-100K: {size}"
            if python:
                found = train_recbole(python, folder, options.epochs, options.threads)
                theirs.append(found["median"])
                peer = f"RecBole 1.2.1: {sizes(found['hidden_dim'], found['batch_size'], found['interactions'])}"
    return [row(names[name], seconds[name], peer, theirs) for name in configs]


def autorec_epochs(options: argparse.Namespace) -> int:
    return max(3, options.epochs // 4)


def autorec(folder: Path, _: Path | None, options: argparse.Namespace) -> list[str]:
    """The row of I-AutoRec, whose peer is made here."""
    ours, theirs, epochs = [], [], autorec_epochs(options)
    root = f"--data.source.root={options.data}/ml-1m"
    for _ in range(options.turns):
        value, cli = train("conf/recipes/autorec_ml1m.yaml", folder, epochs, root, "--refit=false")
        ours.append(value)
        (rows, columns), hidden = (cli.model.num_rows, cli.model.num_columns), cli.model.first.weight.shape[1]
        size = cli.datamodule.batch_size
        theirs.append(product_seconds(rows, columns, hidden, size, epochs))
    what = f"I-AutoRec, ML-1M: hidden {hidden}, {size} of {rows:,} items a step, {columns:,} users"
    return [row(what, ours, "its dense products alone", theirs)]


def last_line(error: Exception) -> str:
    """What went wrong; of a program, the last thing it said."""
    text = getattr(error, "stderr", None) or str(error)
    return text.strip().splitlines()[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("RECGNN_DATA"), help="folder that holds ml-100k/ and ml-1m/")
    parser.add_argument("--epochs", type=int, default=20, help="epochs a turn; a quarter as many of I-AutoRec's")
    parser.add_argument("--turns", type=int, default=3, help="turns of each side")
    parser.add_argument("--threads", type=int, default=2, help="of both sides")
    parser.add_argument("--peers", type=Path, help="folder of RecBole's environment; a temporary one by default")
    options = parser.parse_args()
    if options.epochs < 2 or options.turns < 1 or options.threads < 1:
        parser.error("--epochs must be 2 or more, --turns and --threads 1 or more")
    if not options.data:
        print("nothing is measured: RECGNN_DATA names no folder with ml-100k/ and ml-1m/")
        return
    torch.set_num_threads(options.threads)
    lines = ["| recgnn | s an epoch | peer | s an epoch | recgnn / peer |", "|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as temporary:
        folder, python = Path(temporary), None
        try:
            python = install_recbole((options.peers or folder / "peers").expanduser().resolve())
            train_recbole(python, folder, 2, options.threads)
        except (OSError, subprocess.CalledProcessError) as error:
            python = None
            print(f"RecBole does not run here, so CDAE has no peer: {last_line(error)}")
        for name, part in {"CDAE": cdae, "I-AutoRec": autorec}.items():
            try:
                lines += part(folder, python, options)
            except (RecGNNError, subprocess.CalledProcessError) as error:
                print(f"{name} is left out: {last_line(error)}")
    print("\n".join(lines) if len(lines) > 2 else "nothing is measured")
    count = f"{options.turns} turns, of {options.epochs} epochs of CDAE and {autorec_epochs(options)} of I-AutoRec"
    print(f"\ntorch {torch.__version__}, {options.threads} threads, {count}")


if __name__ == "__main__":
    main()
