"""`python -m tests.faults --minutes 30`: bad inputs, flipped bits, crashes and kills, until the time is over.

Every case is made by a seed and runs in a forked process. It ends well if the command refuses in one line (exit code 2)
or gives the right answer. A case that does not is printed with the option that runs it alone: --case 42:tables:fit:17
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"}  # more threads would not survive a fork

from tests.faults import crashes, damage, inputs, meaning, texts  # noqa: E402
from tests.faults.world import FAILURES, OUTCOMES, Verdict, World  # noqa: E402

SHARES = {
    "meaning": 0.1, "tables": 0.16, "texts": 0.23, "bits": 0.18, "files": 0.05, "points": 0.15, "kills": 0.13,
}  # fmt: skip
NAMES = {
    "meaning": list(meaning.CASES), "tables": list(inputs.CASES), "texts": list(texts.COMMANDS),
    "bits": list(damage.COMMANDS), "files": list(damage.COMMANDS),
    "points": list(crashes.COMMANDS), "kills": ["fit", "fit clicks", "refit", "tune", "benchmark"],
}  # fmt: skip
Cases = dict[str, Callable[[random.Random, Path, str], Verdict]]


def cases(world: World, kinds: set[str]) -> Cases:
    """Return a function for each kind of cases: (draw, folder, command) to a verdict."""
    damages = damage.Damage(world) if kinds & {"bits", "files"} else None
    ends = crashes.Crashes(world) if kinds & {"points", "kills"} else None
    found: Cases = {
        "meaning": meaning.case,
        "tables": lambda draw, folder, name: inputs.CASES[name](world, draw, folder),
        "texts": lambda draw, folder, name: texts.case(world, draw, folder, name),
    }
    if damages is not None:
        found["bits"] = lambda draw, folder, name: damages.case(draw, folder, name, "bit")
        found["files"] = lambda draw, folder, name: damages.case(draw, folder, name, "file")
    if ends is not None:
        found["points"] = lambda draw, folder, name: ends.case(draw, folder, name, "point")
        found["kills"] = lambda draw, folder, name: ends.case(draw, folder, name, "moment")
    return found


def run_case(world: World, kinds: Cases, case: str) -> Verdict:
    """Run a case by its name, `seed:kind:command:number`."""
    _, kind, name, _ = case.split(":")
    folder = world.new()
    verdict = kinds[kind](random.Random(case), folder, name)
    shutil.rmtree(world.folder / "cases", ignore_errors=True)
    return verdict


def table(counts: dict[tuple[str, str], Counter[str]]) -> str:
    """Return the counts of outcomes as a table, a line for each kind and command."""
    lines = [f"| {'kind':8} | {'command':10} | {'cases':>6} | {' | '.join(f'{name:>12}' for name in OUTCOMES)} |"]
    lines.append("|" + "---|" * (3 + len(OUTCOMES)))
    total: Counter[str] = Counter()
    for (kind, name), found in counts.items():
        total += found
        lines.append(_line(kind, name, found))
    return "\n".join([*lines, _line("all", "", total)])


def _line(kind: str, name: str, found: Counter[str]) -> str:
    cells = " | ".join(f"{found[outcome]:12,}" for outcome in OUTCOMES)
    return f"| {kind:8} | {name:10} | {found.total():6,} | {cells} |"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="time for all cases together (default: 30)")
    parser.add_argument(
        "--only", default="", help=f"kinds, or kind:command, of {', '.join(SHARES)}, separated by commas"
    )
    parser.add_argument("--seed", default="42", help="seed of the cases (default: 42)")
    parser.add_argument("--case", action="append", default=[], help="run this case alone, as it was printed")
    parser.add_argument("--cases", type=int, default=10**9, help="at most so many cases of each kind and command")
    options = parser.parse_args()
    chosen = [case.split(":")[1:3] for case in options.case] or [x.split(":") for x in options.only.split(",") if x]
    wanted = {(kind, name): Counter[str]() for kind in SHARES for name in NAMES[kind]
              if not chosen or any(x[0] == kind and x[1:] in ([], [name]) for x in chosen)}  # fmt: skip
    kinds = {kind for kind, _ in wanted}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="recgnn-faults-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    began = time.monotonic()
    try:
        world = World(folder)
        world.prepare()
        made = cases(world, kinds)
        print(f"ready after {time.monotonic() - began:.0f} s", flush=True)
        for case in options.case:
            print(case, *run_case(world, made, case), sep="\n  ")
        if options.case:
            return 0
        _all(world, made, wanted, options.seed, began + 60 * options.minutes, options.cases)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{table(wanted)}\n{(time.monotonic() - began) / 60:.1f} minutes")
    return int(any(found[outcome] for found in wanted.values() for outcome in FAILURES))


def _all(
    world: World, made: Cases, counts: dict[tuple[str, str], Counter[str]], seed: str, end: float, most: int
) -> None:
    """Run cases until the time is over, the kinds in proportion to their shares; counts are added to `counts`."""
    spent = dict.fromkeys(counts, 0.0)
    share = {key: SHARES[key[0]] / sum(kind == key[0] for kind, _ in counts) for key in counts}
    while time.monotonic() < end:
        left = [key for key in counts if counts[key].total() < most]
        if not left:
            return
        key = min(left, key=lambda key: spent[key] / share[key])
        began = time.monotonic()
        case = f"{seed}:{key[0]}:{key[1]}:{counts[key].total()}"
        verdict = run_case(world, made, case)
        spent[key] += time.monotonic() - began
        counts[key][verdict.outcome] += 1
        if verdict.outcome in FAILURES:
            print(f"{verdict.outcome.upper()}  --case '{case}'\n  {verdict.what}\n  {verdict.told}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
