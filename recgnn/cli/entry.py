"""The programs: `python -m recgnn.<command>` and `recgnn <command>`."""

from __future__ import annotations

import sys
from importlib import import_module

from recgnn.errors import RecGNNError, did_you_mean

COMMANDS = {
    "fit": "train a model, test its best checkpoint, write a run folder",
    "validate": "validation metrics of a run",
    "test": "test metrics of a run",
    "predict": "a rating (or score) for each row of a table, from a run",
    "recommend": "the best items for users, from a run",
    "similar": "the items most like others, from a run",
    "export": "a run as ONNX, torch.export program or embeddings",
    "compare": "runs side by side: tables, significance, a page of figures",
    "benchmark": "train a list of configurations over several seeds, and compare them",
    "tune": "search for better values of a configuration",
    "dashboard": "the W&B workspace of a project's runs: panels from the keys that runs log",
}
ROOMS = {  # where the commands beyond the training and the use of a run live
    "export": "recgnn.serving.exporting",
    "compare": "recgnn.comparison",
    "benchmark": "recgnn.comparison.suites",
    "tune": "recgnn.search",
    "dashboard": "recgnn.training.wandb_workspace",
}


def entry(command: str, argv: list[str] | None = None) -> None:
    """`python -m recgnn.<command>`: a mistake is one line on standard error and exit code 2."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        if command in ("fit", "validate", "test"):
            from recgnn.cli.training import main

            main(command, argv)
        elif command in ROOMS:
            import_module(ROOMS[command]).main(argv)
        else:
            from recgnn.cli import commands

            commands.main(command, argv)
    except RecGNNError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()


def console() -> None:
    """`recgnn <command> …`, the same as `python -m recgnn.<command> …`."""
    if len(sys.argv) > 1 and sys.argv[1] in COMMANDS:
        entry(sys.argv[1], sys.argv[2:])  # sys.argv stays as it is: Lightning starts the other processes from it
        return
    lines = "\n".join(f"  {name:10} {text}" for name, text in COMMANDS.items())
    usage = f"usage: recgnn <command> [options]\n\n{lines}\n\nrecgnn <command> --help tells more."
    if len(sys.argv) > 1 and sys.argv[1] not in ("-h", "--help"):
        print(f"error: no command {sys.argv[1]}{did_you_mean(sys.argv[1], COMMANDS)}", file=sys.stderr)
        print(usage, file=sys.stderr)
        sys.exit(2)
    print(usage)
