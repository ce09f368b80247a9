"""`python -m recgnn.configs`: the configurations that come with recgnn."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from textwrap import shorten

from recgnn.cli.entry import run
from recgnn.cli.options import OptionParser
from recgnn.errors import ConfigError
from recgnn.files import atomic_path, configuration, shipped

DESCRIPTION = """\
List the configurations that come with recgnn: for fit (--config NAME), benchmark (--suite NAME) and tune
(--space NAME); or write one down, to change it.
"""
EXAMPLES = """\
examples:
  python -m recgnn.configs
  python -m recgnn.fit --config lightgcn
  python -m recgnn.configs --copy lightgcn --output my_lightgcn.yaml
"""
KINDS = {"": "fit --config", "suites": "benchmark --suite", "sweeps": "tune --space"}


def parser() -> OptionParser:
    """Build the parser of the command's options."""
    parser = OptionParser("configs", DESCRIPTION, "[options]", epilog=EXAMPLES)
    parser.add_argument("--copy", metavar="NAME", help="write this configuration of fit to a file")
    parser.add_argument("--output", metavar="FILE", help="that file (default: NAME.yaml in this folder); not replaced")
    return parser


def main(argv: list[str]) -> None:
    """Print a line per configuration, or copy one."""
    options = parser().read(argv)
    if options.copy is None and options.output is not None:
        raise ConfigError("--output is where --copy writes; name a configuration with --copy")
    if options.copy is None:
        print("\n\n".join(_listed(kind, option) for kind, option in KINDS.items()))
        return
    source = configuration(options.copy)
    target = Path(options.output or source.name).expanduser()
    if target.exists():
        raise ConfigError(f"{target}: is there already; --output names another file")
    with atomic_path(target) as path:
        shutil.copyfile(source, path)
    print(f"wrote {target}")


def _listed(kind: str, option: str) -> str:
    """The names of one kind, each with what the file says of itself first."""
    files = shipped(kind)
    width = max(map(len, files), default=0)
    about = {name: file.read_text("utf-8").partition("\n")[0].removeprefix("# ") for name, file in files.items()}
    short = {name: re.split(r"[:?,.]? python -m|, without an account", text)[0] for name, text in about.items()}
    lines = [f"  {name:{width}}  {shorten(text, 116 - width, placeholder=' …')}" for name, text in short.items()]
    return "\n".join([f"{option} NAME", *lines])


if __name__ == "__main__":
    run(main)
