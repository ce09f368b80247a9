"""Options of the commands that do not train."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from recgnn.cli.options import OptionParser, add_ids, add_item_filters, ids_of, item_filters
from recgnn.errors import ConfigError


@pytest.fixture
def parser() -> OptionParser:
    parser = OptionParser("recommend", "Recommends.")
    parser.add_run()
    add_ids(parser, "users", "user ids")
    add_item_filters(parser)
    return parser


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--user", "1"], r"unknown option --user \(did you mean '--users'\?\); --help lists the options"),
        (["--run", "a", "--exlude=3"], r"unknown option --exlude \(did you mean '--exclude'\?\)"),
        (["--run", "a", "--us", "1"], "unknown option --us"),
        ([], "required: --run; --help lists the options"),
        (["--run"], "argument --run: expected one argument"),
        (["--run", "a", "--users=--"], "--users=--: -- is no value"),
    ],
)
def test_mistakes_are_one_line(parser, argv, message) -> None:
    with pytest.raises(ConfigError, match=message):
        parser.read(argv)


def test_ids_of_option_and_file(parser, here) -> None:
    Path("ids.txt").write_text("c\n\n d \n")
    options = parser.read(["--run", "x", "--users", " a,b,,", "--users_file", "ids.txt", "--exclude", "7"])
    assert ids_of(options, "users") == ["a", "b", "c", "d"]
    assert item_filters(options) == {"candidates": None, "exclude": ["7"]}
    assert ids_of(parser.read(["--run", "x"]), "users") is None
    with pytest.raises(ConfigError, match="--users: no ids given"):
        ids_of(Namespace(users=" , ", users_file=None), "users")
