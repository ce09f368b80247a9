"""Errors of Lightning and jsonargparse as one line, with the nearest real name."""

from __future__ import annotations

import re
import traceback

import torch
from lightning import Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import callbacks, loggers
from lightning.pytorch.cli import LightningArgumentParser

from recgnn.cli.classes import argument_names, class_at_path
from recgnn.cli.own_code import mistake_in_own_code
from recgnn.errors import ConfigError, RecGNNError, RunError, describe, did_you_mean, hints_of
from recgnn.models.base import SIZES

THEIRS = [*callbacks.__all__, *loggers.__all__, *torch.optim.__all__, *torch.optim.lr_scheduler.__all__]


def mistake_in(error: BaseException | None) -> RecGNNError | None:
    """Find the person's mistake that caused an error: one of ours, one that Lightning names, or one in the code of
    their own classes; None for a bug."""
    whole = error
    while error is not None:
        if isinstance(error, RecGNNError):
            return error
        if isinstance(error, MisconfigurationException):
            return ConfigError(" ".join(str(error).split()))
        if isinstance(error, Exception) and _while_restoring(error):
            text = " ".join(str(error).split()) or type(error).__name__
            return RunError(f"the checkpoint is of another model or other data: {text[:300]}")
        if isinstance(error, torch.distributed.DistError) or "gloo/transport" in str(error):
            return RunError(
                "another process of this command has ended, and this one with it; its own message tells why. Start all "
                "of them again (fit goes on with --ckpt_path last)"
            )
        error = error.__cause__ or error.__context__
    return mistake_in_own_code(whole)


def _while_restoring(error: Exception) -> bool:
    """Whether an error was raised while Lightning took a checkpoint's parts back."""
    frames = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    theirs = [code.co_name.lstrip("_") for code in frames if code.co_filename.endswith("checkpoint_connector.py")]
    return any(name.startswith(("restore", "resume")) for name in theirs)


def check_names(argv: list[str]) -> None:
    """Refuse unknown options of the trainer, which the parser would take for abbreviations.

    Raises:
        ConfigError: Names the option, and the nearest that there is.
    """
    known = [f"--trainer.{name}" for name in Trainer.__init__.__annotations__]
    for option in argv:
        name = option.partition("=")[0].removesuffix("+")
        if name.startswith("--trainer.") and name.count(".") == 1 and name not in known:
            raise ConfigError(f"unknown option {name}{did_you_mean(name, known)}")


def one_line(message: str, parser: LightningArgumentParser) -> str:
    """Reduce a report of jsonargparse to one line, with the nearest real name."""
    text = " ".join(line.strip(" -") for line in message.splitlines() if line.strip())
    if match := re.search(r"[Uu]nrecognized arguments: (\S+)", text):
        known = [o for a in parser._actions for o in a.option_strings]
        name = match[1].partition("=")[0]
        return f"unknown option {name}{did_you_mean(name, known)}; --help lists them all"
    if "arguments are required" in text and re.search(r"\.(data|model)\b", text):
        return "no data or no model given; start from a configuration: --config conf/ngcf.yaml"
    owners = re.findall(r"class_path '([\w.]+)'", text)  # the innermost last
    owner = owners[-1] if owners else None
    of = f" of {owner.rpartition('.')[2]}" if owner else ""
    if match := re.search(r"[Oo]ption '([\w.]+)' is not accepted|does not accept (?:nested )?\w+ '([\w.]+)'", text):
        name = (match[1] or match[2]).removeprefix("init_args.")
        known = options_of(owner) if owner else [a.dest for a in parser._actions]
        there_are = f"; there are: {', '.join(known[:20])}" if known else ", which has none"
        return f"unknown option {name}{of}{did_you_mean(name, known) or there_are}"
    keys = re.findall(r'Parser key "([\w.]+)"', text)
    key = keys[-1] if keys else "options"
    if owner and (match := re.search(r"following arguments are required: (\w+)", text)):
        return f"{owner.rpartition('.')[2]}.{match[1]} is not given, and has no default: {key}.{match[1]}"
    if match := re.search(
        r"Problem with given class_path '([\w.]+)': ((?:No module|[Cc]annot import|Unable).*?)(?: Prob| Exp|$)", text
    ):
        return f"{key}: {match[1]} cannot be imported: {match[2]}"
    if match := re.search(r"Expected a dot import path string: (\S+)|has no attribute '(\w+)'", text):
        name = match[1] or match[2]
        return (
            f"{key}: no class {name}{did_you_mean(name, THEIRS)}; expected one of Lightning or torch, or a dotted path"
        )
    hints = hints_of(class_at_path(owner) if owner and options_of(owner) else Trainer)
    name = key.rpartition(".")[2]
    if name in hints and (match := re.search(r"(?:Got|Given) value: (.+?)(?: Expected| Import path|$)", text)):
        whose = owner.rpartition(".")[2] if owner else key.rpartition(".")[0]
        if nested := re.match(r"NestedArg\(key='([\w.]+)'", match[1]):
            option = ".".join(keys).replace("init_args.", "")
            return f"{whose}.{name} has no class that could take {nested[1]}; say which before: --{option} CLASS"
        return f"{whose}.{name} is {match[1]}; expected {describe(hints[name])}"
    if match := re.search(r"Expected an? (.+?)\. Got value: (.+?)(?: Expected|$)", text):
        expected = match[1].replace("typing.", "").replace("<class ", "").replace(">", "").replace("'", "")
        expected = re.sub(r"Literal\[(.*)\]", lambda literal: literal[1].replace(", ", " or "), expected)
        return f"option {key}{of}: expected {expected}, found {match[2]}"
    if match := re.search(r".*Union subtypes Subtypes: \[(.+?)\] Errors:.*?Given value: (.+?)(?: Expected|$)", text):
        types = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", match[1]).replace("NoneType", "null").split(", ")
        return f"option {key}{of}: expected {' or '.join(types)}, found {match[2]}"
    return text if len(text) < 600 else text[:300] + " … " + text[-280:]


def options_of(class_path: str) -> list[str]:
    """List the options of a class, given its dotted path; none if it cannot be imported."""
    try:
        return [name for name in argument_names(class_at_path(class_path)) if name not in (*SIZES, "model")]
    except (ImportError, AttributeError, ValueError):
        return []
