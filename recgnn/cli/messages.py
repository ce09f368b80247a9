"""A person's mistakes on the command line and in configurations, told in one line with the nearest real name."""

from __future__ import annotations

import re
from importlib import import_module
from inspect import signature
from pathlib import Path

import yaml
from lightning import Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import LightningArgumentParser

import recgnn.data
import recgnn.models
from recgnn.errors import ConfigError, RecGNNError, RunError, did_you_mean


def mistake_in(error: BaseException | None) -> RecGNNError | None:
    """The person's mistake that an error comes of, if it does: ours, or one that Lightning calls so."""
    while error is not None:
        if isinstance(error, RecGNNError):
            return error
        if isinstance(error, MisconfigurationException):
            return ConfigError(" ".join(str(error).split()))
        if isinstance(error, RuntimeError) and "loading state_dict" in str(error):
            text = " ".join(str(error).split())
            return RunError(f"the checkpoint is of another model or other data: {text[:300]}")
        error = error.__cause__ or error.__context__
    return None


def check_names(argv: list[str]) -> None:
    """Refuse `--trainer.max_epoch`, which the parser would take for an abbreviation."""
    known = [f"--trainer.{name}" for name in Trainer.__init__.__annotations__]
    for option in argv:
        name = option.partition("=")[0].removesuffix("+")
        if name.startswith("--trainer.") and name.count(".") == 1 and name not in known:
            raise ConfigError(f"unknown option {name}{did_you_mean(name, known)}")


class _OnceOnly(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML would take the last."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if name in seen and name != "<<":
                raise yaml.constructor.ConstructorError(None, None, f"{name!r} stands twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


def check_files(argv: list[str]) -> None:
    """Refuse a configuration that is no YAML, by file and line."""
    for option, following in zip(argv, [*argv[1:], ""], strict=False):
        path = Path(following if option == "--config" else option.removeprefix("--config="))
        if option.startswith("--config") and path.is_file():
            try:
                yaml.load(path.read_text(encoding="utf-8"), _OnceOnly)  # noqa: S506, a SafeLoader
            except yaml.YAMLError as error:
                mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
                where = f"{path}, line {mark.line + 1}" if mark else f"{path}"
                raise ConfigError(f"{where}: is no valid YAML: {problem or str(error).splitlines()[0]}") from error
            except UnicodeDecodeError as error:
                raise ConfigError(f"{path}: is no text file") from error


def one_line(message: str, parser: LightningArgumentParser) -> str:
    """jsonargparse's report reduced to its point, with the nearest real name."""
    text = " ".join(line.strip(" -") for line in message.splitlines() if line.strip())
    if match := re.search(r"[Uu]nrecognized arguments: (\S+)", text):
        known = [o for a in parser._actions for o in a.option_strings]
        name = match[1].partition("=")[0]
        return f"unknown option {name}{did_you_mean(name, known)}; --help lists them all"
    if "arguments are required" in text and re.search(r"\.(data|model)\b", text):
        return "no data or no model given; start from a configuration: --config conf/ngcf.yaml"
    if match := re.search(r"File does not exist: '(.+?)'", text):
        path = Path(match[1])
        near = [p.name for p in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
        return f"{path}: no such configuration file{did_you_mean(path.name, near)}"
    owners = re.findall(r"class_path '([\w.]+)'", text)  # the innermost last
    owner = owners[-1] if owners else None
    of = f" of {owner.rpartition('.')[2]}" if owner else ""
    if match := re.search(r"[Oo]ption '([\w.]+)' is not accepted|does not accept (?:nested )?\w+ '([\w.]+)'", text):
        name = (match[1] or match[2]).removeprefix("init_args.")
        known = arguments_of(owner) if owner else [a.dest for a in parser._actions]
        return f"unknown option {name}{of}{did_you_mean(name, known) or '; there are: ' + ', '.join(known[:20])}"
    if match := re.search(r"Expected a dot import path string: (\S+)|has no attribute '(\w+)'", text):
        name = (match[1] or match[2]).rpartition(".")[2]
        known = [*recgnn.models.__all__, *recgnn.data.__all__]
        return f"no class {name}{did_you_mean(name, known) or '; there are: ' + ', '.join(known)}"
    keys = re.findall(r'Parser key "([\w.]+)"', text)
    if match := re.search(r"Expected an? (.+?)\. Got value: (.+?)(?: Expected|$)", text):
        expected = match[1].replace("typing.", "").replace("<class ", "").replace(">", "").replace("'", "")
        return f"option {keys[-1] if keys else ''}{of}: expected {expected}, found {match[2]}"
    return text if len(text) < 600 else text[:300] + " … " + text[-280:]


def arguments_of(class_path: str) -> list[str]:
    """The names of a class's arguments; none where it cannot be imported."""
    module, _, name = class_path.rpartition(".")
    try:
        return [n for n in signature(getattr(import_module(module), name)).parameters if n != "self"]
    except (ImportError, AttributeError, ValueError, TypeError):
        return []
