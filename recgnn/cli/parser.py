"""Lightning's parser with errors of one line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NoReturn

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from recgnn.cli.messages import mistake_in, one_line
from recgnn.errors import ConfigError


class Parser(LightningArgumentParser):
    """A parser whose errors are one line with the nearest real name."""

    def parse_args(self, args: Sequence[str] | None = None, namespace: Namespace | None = None, **kwargs: Any) -> Any:
        if args is not None:  # jsonargparse writes the null of a class within a class as Python's None
            args = [re.sub(r"^(--[\w.+]+=)None$", r"\1null", word) for word in args]
        return super().parse_args(args, namespace, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:
            super().error(message, ex)
        if (mistake := mistake_in(ex)) is not None:  # found while an object was made: told as it is
            raise mistake
        raise ConfigError(one_line(message, self)) from ex
