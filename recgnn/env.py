"""`python -m recgnn.env`: versions, threads and devices, in a form to paste."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata

from recgnn import __version__
from recgnn.cli.entry import run
from recgnn.cli.options import OptionParser
from recgnn.files import cache_folder

DESCRIPTION = """\
Print the versions of recgnn and of what it stands on, the threads and devices that it can use, and where its cache is,
for a report of a problem: nothing of your data, and no variable but those that set threads, devices and the cache.
"""
EXAMPLES = """\
example:
  python -m recgnn.env > env.txt
"""


def main(argv: list[str]) -> None:
    """Print a line per fact."""
    OptionParser("env", DESCRIPTION, "[--help]", epilog=EXAMPLES).read(argv)
    import torch

    cuda = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    mps = ["Apple MPS"] if torch.backends.mps.is_available() else []
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    names = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "RECGNN_CACHE")
    facts = {
        "recgnn": __version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "system": platform.platform(),
        **_versions(),
        "cores": f"{usable} of {os.cpu_count()}; torch uses {torch.get_num_threads()} threads",
        "devices": ", ".join([*cuda, *mps]) or "CPU only",
        "CUDA": torch.version.cuda or "not in this torch",
        "cache": str(cache_folder()),
        **{name: os.environ[name] for name in names if name in os.environ},
    }
    width = max(map(len, facts))
    print("\n".join(f"{name:{width}}  {value}" for name, value in facts.items()))


def _versions() -> dict[str, str]:
    """The versions of what recgnn requires, and of those of its extras that are installed."""
    try:
        required = metadata.requires("recgnn") or []
    except metadata.PackageNotFoundError:  # run from its sources
        required = ["torch", "lightning", "torch-geometric", "torchmetrics", "jsonargparse", "pandas", "numpy", "wandb"]
    found = {}
    for text in required:
        name = re.split(r"[^\w.-]", text, maxsplit=1)[0]
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            if "extra ==" not in text:
                found[name] = "MISSING"
    return {name: version for name, version in found.items() if name != "recgnn"}


if __name__ == "__main__":
    run(main)
