"""How long the commands take to start, and which large packages they import when they are really run.

    python benchmarks/startup.py                # trains two tiny runs in a temporary folder
    python benchmarks/startup.py --run RUN      # measures the commands on a run of yours

Every command is run as a process of its own, `--rounds` times in turns; the least CPU time (user and system) counts. It
is shown in seconds and as a ratio to `import torch` in the same rounds, which does not depend on the machine. A cross
marks a package that `-X importtime` lists in a run of the command.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGES = ("lightning", "torchmetrics", "torch_geometric")
TORCH = ("-c", "import torch")
HELP = ("recommend", "similar", "predict", "evaluate", "pipeline", "export", "compare", "benchmark", "tune",
        "dashboard")  # fmt: skip
GRAPH = """\
data:
  class_path: GraphDataModule
  init_args: {source: {class_path: SyntheticLog, init_args: {num_users: 60, num_items: 40}}}
model: {class_path: LightGCN, init_args: {embedding_dim: 8}}
trainer: {accelerator: cpu, max_epochs: 2, logger: false, enable_progress_bar: false}
"""
CLICKS = """\
data:
  class_path: CTRDataModule
  init_args: {source: {class_path: SyntheticLog, init_args: {num_users: 60, num_items: 40}}, label: rating >= 4}
model: {class_path: DeepFM, init_args: {embedding_dim: 4, hidden_dims: [8]}}
trainer: {accelerator: cpu, max_epochs: 2, logger: false, enable_progress_bar: false}
"""


def cpu_seconds(words: tuple[str, ...], folder: Path) -> float:
    """Run `python <words>` in `folder` and return its CPU seconds."""
    process = subprocess.Popen(
        [sys.executable, *words], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    error = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"python {' '.join(words)}: exit code {process.returncode}\n{error}")
    return usage.ru_utime + usage.ru_stime


def imported(words: tuple[str, ...], folder: Path) -> set[str]:
    """Return those of PACKAGES that `python <words>` imports."""
    command = [sys.executable, "-X", "importtime", *words]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    modules = re.findall(r"^import time:.*\| +([\w.]+)$", result.stderr, re.M)
    return {module.partition(".")[0] for module in modules} & set(PACKAGES)


def uses_of(run: Path, folder: Path) -> dict[str, tuple[str, ...]]:
    """The commands that use or compare `run`, by the name of the row; writes their inputs into `folder`."""
    name, short = run.parent.name, ("--run", str(run))
    pairs = folder / f"{name}-pairs.csv"
    words = (sys.executable, "-m", "recgnn.recommend", *short, "--k", "1")
    printed = subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True).stdout
    rows = [{"user": row["user"], "item": row["item"]} for row in csv.DictReader(io.StringIO(printed))]
    with pairs.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ("user", "item"))
        writer.writeheader()
        writer.writerows(rows)
    clicks = "CTRDataModule" in (run / "config.yaml").read_text(encoding="utf-8")
    calls = {
        "recommend": (*short, "--users", rows[0]["user"], "--k", "5"),
        "similar": (*short, "--items", rows[0]["item"]),
        "predict": (*short, "--input", str(pairs)),
        "export": (*short, "--format", "torch" if clicks else "embeddings", "--output", str(folder / f"{name}-export")),
        "compare": (str(run), "--output", str(folder / f"{name}-compare")),
    }
    return {f"{command} ({name})": ("-m", f"recgnn.{command}", *options) for command, options in calls.items()}


def tiny_runs(folder: Path) -> list[Path]:
    """Train a graph model and a model of clicks."""
    runs = []
    for name, text in (("lightgcn", GRAPH), ("deepfm", CLICKS)):
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
        runs.append(folder / name / "1")
        words = ("-m", "recgnn.fit", "--config", f"{name}.yaml", "--run_dir", str(runs[-1]))
        cpu_seconds(words, folder)
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="run folder to measure the commands on (default: two tiny ones)")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    root = str(Path(__file__).resolve().parents[1])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs = tiny_runs(folder) if options.run is None else [options.run.resolve()]
        calls = {"import torch": TORCH, "import recgnn": ("-c", "import recgnn")}
        calls |= {f"recgnn {option}": ("-m", "recgnn", option) for option in ("--help", "--version")}
        calls |= {f"{command} --help": ("-m", f"recgnn.{command}", "--help") for command in ("fit", *HELP)}
        for run in runs:
            calls |= uses_of(run, folder)
        times: dict[str, list[float]] = {row: [] for row in calls}
        for _ in range(options.rounds):
            for row, words in calls.items():
                times[row].append(cpu_seconds(words, folder))
        torch = min(times["import torch"])
        print(f"| command | CPU s | ratio to import torch | {' | '.join(PACKAGES)} |\n|---|---|---|{'---|' * 3}")
        for row, words in calls.items():
            seconds, packages = min(times[row]), imported(words, folder)
            marks = " | ".join("x" if package in packages else "" for package in PACKAGES)
            print(f"| `{row}` | {seconds:.2f} | {seconds / torch:.2f} | {marks} |", flush=True)


if __name__ == "__main__":
    main()
