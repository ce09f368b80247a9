"""Lightning's parser with errors of one line."""

from __future__ import annotations

from typing import NoReturn

from lightning.pytorch.cli import LightningArgumentParser

from recgnn.cli.messages import mistake_in, one_line
from recgnn.errors import ConfigError


class Parser(LightningArgumentParser):
    """A parser whose errors are one line with the nearest real name."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:
            super().error(message, ex)
        if (mistake := mistake_in(ex)) is not None:  # found while an object was made: told as it is
            raise mistake
        raise ConfigError(one_line(message, self)) from ex
