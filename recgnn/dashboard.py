"""`python -m recgnn.dashboard`: a W&B workspace for the runs of a project, built from the keys that runs log."""

from __future__ import annotations

import json
from pathlib import Path

from recgnn.cli.entry import run
from recgnn.cli.options import OptionParser
from recgnn.errors import ConfigError
from recgnn.files import atomic_path

DESCRIPTION = """\
Build a W&B workspace with the curves, test metrics, figures and tables of a project's runs, grouped by model and data.
It is saved as a new view of the project, or written down without a network.
"""
EXAMPLES = """\
examples:
  python -m recgnn.dashboard --entity NAME --project recgnn
  python -m recgnn.dashboard --output workspace.json
"""


def parser() -> OptionParser:
    """Build the parser of the command's options."""
    parser = OptionParser("dashboard", DESCRIPTION, "--entity NAME [options]", epilog=EXAMPLES)
    parser.add_argument("--entity", metavar="NAME", help="W&B user or team that owns the project")
    parser.add_argument("--project", default="recgnn", metavar="NAME", help="project (default: recgnn)")
    parser.add_argument("--name", default="recgnn", metavar="NAME", help="name of the workspace (default: recgnn)")
    parser.add_argument(
        "--ks", default="10,20", metavar="NUMBERS", help="lengths of recommendation lists (default: 10,20)"
    )
    parser.add_argument("--fields", default="", metavar="NAMES", help="fields whose figure auc_by_<field> is shown")
    parser.add_argument("--print", action="store_true", help="print the specification (JSON) instead of saving it")
    parser.add_argument(
        "--output", metavar="FILE", help="write the specification to this .json file instead of saving it"
    )
    parser.add_argument("--keys", action="store_true", help="only print all logged keys as a table")
    return parser


def main(argv: list[str]) -> None:
    """Save the workspace to W&B, or print or write its specification."""
    options = parser().read(argv)
    from recgnn.training import wandb_keys, wandb_workspace

    if options.keys:
        print(wandb_keys.markdown(), end="")
        return
    if not all(k.strip().isdecimal() and int(k) for k in options.ks.split(",")):
        raise ConfigError(f"--ks {options.ks}: expected list lengths, as 10,20")
    ks = sorted({int(k) for k in options.ks.split(",")})
    fields = [name.strip() for name in options.fields.split(",") if name.strip()]
    local = options.print or options.output is not None
    if options.entity is None and not local:
        raise ConfigError(
            "the workspace is saved to an account of W&B: name it with --entity, or write it without one: --print or "
            "--output workspace.json"
        )
    if options.output is not None and Path(options.output).suffix != ".json":
        raise ConfigError(f"--output {options.output}: expected a name that ends in .json")
    view = wandb_workspace.workspace(options.entity or "", options.project, options.name, ks, fields)
    text = json.dumps(wandb_workspace.specification(view), indent=2) + "\n"
    if options.print:
        print(text, end="")
    if options.output is not None:
        with atomic_path(Path(options.output).expanduser()) as path:
            path.write_text(text, encoding="utf-8")
    if not local:
        print(wandb_workspace.save(view))


if __name__ == "__main__":
    run(main)
