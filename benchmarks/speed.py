"""Speed, as ratios against peers in the same run.

    RECGNN_DATA=<folder with gowalla/, ml-100k/, ml-1m/> python benchmarks/speed.py PART [options]

PART is graph, autoencoders, ctr or sequence.

`--help` after the part's name shows its options.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

PARTS = ("graph", "autoencoders", "ctr", "sequence")


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in PARTS:
        print(__doc__.strip())
        raise SystemExit(0 if "--help" in sys.argv else 2)
    part = sys.argv.pop(1)
    runpy.run_path(str(Path(__file__).with_name(f"speed_{part}.py")), run_name="__main__")


if __name__ == "__main__":
    main()
