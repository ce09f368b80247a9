"""An environment of its own for each peer that `benchmarks/peers/*.py` measures."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

CONSTRAINTS = Path(__file__).resolve().parents[2] / "constraints.txt"
SHARED = ["torch", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy"]  # as pinned in constraints.txt
# Each list is one call of pip. RecBole goes without its dependencies, which ask for a ray that has no wheel for a
# current Python; the other names are what its training imports.
WANTED = {
    "deepctr_torch": [[*SHARED, "tqdm==4.70.1", "deepctr-torch==0.3.0"]],
    "torch_rechub": [[*SHARED, "tqdm==4.70.1", "torch-rechub==0.9.0"]],
    "recbole_ffm": [
        [*SHARED, "PyYAML", "tqdm==4.70.1", "colorlog==4.7.2", "colorama==0.4.4", "tabulate==0.10.0"]
        + ["texttable==1.7.0"],
        ["--no-deps", "recbole==1.2.1"],
    ],
}
WITHOUT = ["per_field_fm"]  # plain torch
SAME = {"rechub_sequence": "torch_rechub", "recbole_din": "recbole_ffm", "recbole_ctr": "recbole_ffm"}


def python_of(peer: str, folder: Path) -> Path:
    """The Python that runs `benchmarks/peers/<peer>.py`: of an environment in `folder`, made where it is missing, out
    of date or unfinished.

    Raises:
        ValueError: no such peer.
        subprocess.CalledProcessError: pip failed; `stderr` holds why.
    """
    if peer in WITHOUT:
        return Path(sys.executable)
    peer = SAME.get(peer, peer)
    if peer not in WANTED:
        raise ValueError(f"peer is {peer!r}, expected one of {', '.join([*WANTED, *WITHOUT])}")
    environment = folder.expanduser().resolve() / peer
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    marker, wanted = environment / "installed", f"{WANTED[peer]}\n{CONSTRAINTS.read_text()}"
    if not marker.is_file() or marker.read_text() != wanted:
        venv.create(environment, clear=True, with_pip=True)
        for packages in WANTED[peer]:
            pip = [str(python), "-m", "pip", "install", "-qq", "-c", str(CONSTRAINTS), *packages]
            subprocess.run(pip, capture_output=True, text=True, check=True)
        marker.write_text(wanted)
    return python
