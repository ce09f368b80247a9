"""Options of the commands that do not train: a parser with one-line errors, and options that several commands have."""

from __future__ import annotations

import argparse
import json
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from recgnn.errors import ConfigError, did_you_mean, shown


class OptionParser(argparse.ArgumentParser):
    """An argparse parser whose errors are one line with the nearest option's name.

    Args:
        command: Name of the command.
        description: What it does, shown by --help.
        usage: Its options in short.
        **kwargs: Further arguments of argparse.ArgumentParser.
    """

    def __init__(self, command: str, description: str, usage: str = "--run DIR [options]", **kwargs: Any):
        super().__init__(
            prog=(prog := f"python -m recgnn.{command}"),
            usage=f"{prog} {usage}",
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **kwargs,
        )

    def error(self, message: str) -> NoReturn:
        """Refuse the options.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(f"{message}; --help lists the options")

    def read(self, argv: list[str]) -> argparse.Namespace:
        """Parse the options; an unknown one is told before argparse notices that others are missing.

        Raises:
            ConfigError: For an unknown option, one that is missing, or a value of the wrong type.
        """
        joined: list[str] = []
        for text in argv:
            self.check_name(text)
            before = joined[-1] if joined else ""
            value = text.startswith("-") and not text.startswith("--") and text not in ("-", "-h")
            if value and before.startswith("--") and "=" not in before:  # --users -5,-6
                joined[-1] = f"{before}={text}"
            else:
                joined.append(text)
        return self.parse_args(joined)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Read the options, without argparse's reading of `--` as a value."""
        for text in args or []:
            if text.startswith("--") and text.endswith("=--"):  # of which argparse makes an empty list
                self.error(f"{text}: -- is no value")
        return super().parse_known_args(args, namespace)

    def check_name(self, text: str) -> None:
        """Raise ConfigError if `text` is an option that this parser does not have."""
        name = text.partition("=")[0]
        if name.startswith("--") and name != "--" and name not in self._option_string_actions:
            known = [option for option in self._option_string_actions if option.startswith("--")]
            self.error(f"unknown option {name}{did_you_mean(name, known)}")

    def add_run(self) -> None:
        """Add --run and --trust."""
        self.add_argument("--run", required=True, metavar="DIR", help="run folder, as written by python -m recgnn.fit")
        self.add_argument(
            "--trust",
            action="store_true",
            help="import the module of a model that is not recgnn's own, which runs its code",
        )

    def add_output(self) -> None:
        """Add --output, a table."""
        self.add_argument(
            "--output", default="-", metavar="FILE", help="file.csv, file.parquet, or - for the screen (default)"
        )


def taken(argv: list[str], name: str) -> tuple[str | None, list[str]]:
    """Take the option `--<name> VALUE` out of options; return its last value, None where it is not given, and the rest.

    >>> taken(["--seed", "1", "--on=ray"], "on")
    ('ray', ['--seed', '1'])
    """
    value, rest, words = None, list[str](), iter(argv)
    for word in words:
        option, sign, given = word.partition("=")
        if option == f"--{name}":
            value = given if sign else next(words, "")
        else:
            rest.append(word)
    return value, rest


def is_pipeline(argv: list[str]) -> bool:
    """Whether options of `validate` or `test`, which are parsed later, name a pipeline's folder."""
    from recgnn.training.run_folder import PIPELINE

    words = argv if argv[:1] and argv[0].startswith("-") else ["--run", *argv]
    given = [word.partition("=")[2] for word in words if word.startswith("--run=")]
    given += [value for word, value in pairwise(words) if word == "--run"]
    return any((Path(run).expanduser() / PIPELINE).is_file() for run in given)


def add_ids(parser: argparse.ArgumentParser | argparse._ArgumentGroup, name: str, text: str) -> None:
    """Add `--<name>` and `--<name>_file`, which `ids_of` reads."""
    parser.add_argument(
        f"--{name}",
        metavar="IDS",
        action="append",
        help=f"{text}, separated by commas; may be repeated; a JSON list where ids hold commas",
    )
    parser.add_argument(f"--{name}_file", metavar="FILE", help="file with one id per line")


def add_item_filters(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add --candidates and --exclude, which `item_filters` reads."""
    add_ids(parser, "candidates", "item ids to choose from (default: all)")
    add_ids(parser, "exclude", "item ids to leave out")


def ids_of(options: argparse.Namespace, name: str) -> list[str] | None:
    """Read the ids given by `--<name>` and `--<name>_file`, as text; None if neither was given.

    Raises:
        ConfigError: If they were given and are empty.
        DataError: If the file cannot be read.
    """
    text, file = getattr(options, name), getattr(options, f"{name}_file")
    if text is None and file is None:
        return None
    parts = [part for one in text or () for part in listed(one, f"--{name}")]
    if file is not None:
        from recgnn.data.readers.lines import numbered_lines

        parts += [line for _, line in numbered_lines(file, what="file of ids")]
    ids = [part for part in parts if part.strip()]
    if not ids:
        raise ConfigError(f"--{name if file is None else name + '_file'}: no ids given")
    return ids


def listed(text: str, option: str) -> list[str]:
    """Return the ids of a text: of a JSON list as they are, else what stands between commas, without blanks.

    Raises:
        ConfigError: If it begins as a JSON list and is none.
    """
    if not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        found = json.loads(text, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        expected = 'ids separated by commas, or a JSON list such as ["a,b", "c"]'
        raise ConfigError(f"{option} {shown(text)}: expected {expected}")
    return found


def item_filters(options: argparse.Namespace) -> dict[str, Any]:
    """Read --candidates and --exclude, as a trained model's methods take them."""
    return {name: ids_of(options, name) for name in ("candidates", "exclude")}


def option(name: str, value: Any) -> str:
    """Write an option of `fit` as text, the way W&B's agent writes a parameter (except for nulls)."""
    return f"--{name}={value if isinstance(value, str) else json.dumps(value)}"
