"""Programs measured beside each other: each side a process of its own, in turns."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "peers"))
import environments  # noqa: E402

SHOWN = ("train_rows_per_second", "predict_rows_per_second", "auc", "peak_mb", "cpu_seconds")
OWN = ("recgnn_ctr", "recgnn_sequence")


def run(script: str, *options: str, folder: Path) -> dict:
    """What a script of `peers/` printed; its environment is kept in `folder`."""
    own = script in OWN
    python = Path(sys.executable) if own else environments.python_of(script, folder)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_WAIT_POLICY": "PASSIVE"}
    environment |= {"PYTHONPATH": str(HERE.parent)} if own else {}
    command = [str(python), str(HERE / "peers" / f"{script}.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}:\n{done.stderr[-3000:]}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    encoded = [line for line in done.stderr.splitlines() if line.startswith('{"encoded')]
    return found | (json.loads(encoded[-1]) if encoded else {})


def compare(sides: dict[str, list[str]], turns: int, folder: Path, *options: str) -> dict[str, dict]:
    """The median of the turns of every side, by its name: a script and its options."""
    found: dict[str, list[dict]] = {name: [] for name in sides}
    for _ in range(turns):
        for name, side in sides.items():
            found[name].append(run(*side, *options, folder=folder))
            print(json.dumps({"side": name} | found[name][-1]), file=sys.stderr, flush=True)
    middle = {name: {key: statistics.median(row[key] for row in rows) for key in SHOWN} for name, rows in found.items()}
    return {name: rows[0] | middle[name] for name, rows in found.items()}
