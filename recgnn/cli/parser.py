"""How the command line is read and a model is made of it: one-line errors, and what data tell models."""

from __future__ import annotations

import re
from collections.abc import Sequence
from inspect import signature
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser, _InstantiatorFn

from recgnn.cli.mistakes import mistake_in, one_line
from recgnn.errors import ConfigError

LINKED = ("num_users", "num_items", "field_dims", "slots", "field_names", "item_slots")
"""What a model may ask of its data."""


class Parser(LightningArgumentParser):
    """A parser whose errors are one line with the nearest real name."""

    def parse_args(self, args: Sequence[str] | None = None, namespace: Namespace | None = None, **kwargs: Any):
        if args is not None:  # what belongs to a class within a class comes as text, null as Python's None
            args = [f"{a.removesuffix('None')}null" if re.fullmatch(r"--[\w.+]+=None", a) else a for a in args]
        return super().parse_args(args, namespace, **kwargs)

    def error(self, message: str, ex: Exception | None = None):
        if not self.exit_on_error:
            return super().error(message, ex)
        if (mistake := mistake_in(ex)) is not None:  # found while building an object: told as it is
            raise mistake
        raise ConfigError(one_line(message, self)) from ex


class OfData(_InstantiatorFn):
    """Makes a model with what it asks of its data, and without what it does not."""

    def __call__(self, class_type, *args, applied_instantiation_links, **kwargs):
        accepted = signature(class_type).parameters
        others = [name for name in LINKED if name not in accepted]
        links = {k: v for k, v in applied_instantiation_links.items() if k.rpartition(".")[2] not in others}
        kwargs = {k: v for k, v in kwargs.items() if k not in others}
        model = super().__call__(class_type, *args, applied_instantiation_links=links, **kwargs)
        for arguments in (getattr(model, "_hparams", {}), getattr(model, "_hparams_initial", {})):
            for name in others:
                arguments.pop(name, None)
        return model
