"""Options of the commands that are not Lightning's."""

from __future__ import annotations

import argparse

from recgnn.errors import ConfigError


class OptionParser(argparse.ArgumentParser):
    """argparse whose mistakes are those of a person: one line, exit code 2."""

    def error(self, message: str):
        raise ConfigError(f"{message}; --help lists the options")
