"""Lightning's parser with errors of one line."""

from __future__ import annotations

import re
from typing import Any, NoReturn

from lightning.pytorch.cli import LightningArgumentParser

from recgnn.cli.messages import mistake_in, one_line
from recgnn.errors import ConfigError


class Parser(LightningArgumentParser):
    """A parser whose errors are one line with the nearest real name."""

    def parse_args(self, *args: Any, **kwargs: Any) -> Any:
        """Read the options, with nulls written as YAML."""
        words = args[0] if args else kwargs.pop("args", None)
        if words is not None:  # jsonargparse writes the null of a class within a class as Python's None
            words = [re.sub(r"^(--[\w.+]+=)None$", r"\1null", word) for word in words]
        return super().parse_args(words, *args[1:], **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Refuse the options.

        Raises:
            ConfigError: In one line.
        """
        if not self.exit_on_error:
            super().error(message, ex)
        if (mistake := mistake_in(ex)) is not None:  # found while an object was made: told as it is
            raise mistake
        raise ConfigError(one_line(message, self)) from ex
