"""Options: of the commands that are not Lightning's, and those of `fit` as other commands give them."""

from __future__ import annotations

import argparse
import json
from typing import Any

from recgnn.errors import ConfigError


class OptionParser(argparse.ArgumentParser):
    """argparse whose mistakes are those of a person: one line, exit code 2."""

    def error(self, message: str):
        raise ConfigError(f"{message}; --help lists the options")


def option(name: str, value: Any) -> str:
    """An option of `fit`, as the command line has it; the same as W&B's agent makes of a parameter, but for nulls."""
    return f"--{name}={value if isinstance(value, str) else json.dumps(value)}"


def flat(config: Any, place: str = "") -> dict[str, Any]:
    """A configuration by dotted names: {"model.init_args.lr": 0.01, …}."""
    if not isinstance(config, dict) or not config:
        return {place: config}
    return {k: v for key, inner in config.items() for k, v in flat(inner, f"{place}.{key}" if place else key).items()}
