"""Stored files: what was sealed is read as it was, and no configuration within reason is beyond the bounds."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path

import pytest
import yaml

from recgnn.cli.command_line import CommandLine
from recgnn.comparison.suites import read_suite
from recgnn.data.stored import check_bounds, read_json, read_yaml, reading, sealed_text, verify, write_json
from recgnn.errors import ConfigError, RecGNNError, RunError
from recgnn.files import sha256_of
from recgnn.search.space import read_space

CONF = Path(__file__).parents[2] / "conf"
LAUGHS = "a0: &a0 [x]\n" + "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))
BEYOND = {
    "aliases": (LAUGHS, "line 6: expands to more than"),
    "an alias of itself": ("data: &a {x: [*a]}", r"line 1: \*a stands within itself"),
    "brackets": ("data: " + "[" * 3000, "line 1: is nested more than 64 deep"),
    "braces": ("{a: " * 3000, "is nested more than 64 deep"),
    "indented": ("\n".join(f"{' ' * n}a:" for n in range(200)), "line 65: is nested more than"),
    "long": ("a: " + "x" * 2_500_000, "has 2,500,003 characters"),
}


@pytest.mark.parametrize("name", BEYOND)
@pytest.mark.parametrize("read", [lambda path: CommandLine([f"--config={path}"]), read_yaml, read_suite, read_space])
def test_yaml_beyond_any_configuration_is_refused_at_once(name, read, tmp_path) -> None:
    text, message = BEYOND[name]
    path, started = tmp_path / "x.yaml", time.perf_counter()
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)
    assert time.perf_counter() - started < 5


def test_an_option_beyond_any_value() -> None:
    for option in ("--training.ks=" + "[" * 3000, "--data={a: &a [*a]}", "--trainer.max_epochs=" + "{a: " * 3000):
        with pytest.raises(ConfigError, match="nested more than 64 deep|stands within itself"):
            CommandLine([option])


def test_real_configurations_are_far_from_the_bounds() -> None:
    for path in CONF.rglob("*.yaml"):
        check_bounds(path.read_text(encoding="utf-8"), str(path))
        assert read_yaml(path) == yaml.safe_load(path.read_text(encoding="utf-8"))
    fields = {f"column {n}": {"kind": "categorical", "min_count": 5, "buckets": None} for n in range(1000)}
    check_bounds(yaml.safe_dump({"data": {"init_args": {"fields": fields}}}), "many fields")
    shared = "base: &base {lr: 1}\nruns:\n" + "".join(f"- {{<<: *base, seed: {n}}}\n" for n in range(500))
    check_bounds(shared, "anchors")


def test_every_flipped_bit_of_a_sealed_file_changes_nothing_or_is_refused(tmp_path) -> None:
    content = {"test": {"ndcg@10": 0.25, "auc": None}, "name": "Bücher", "groups": [{"rows": 3}], "x": None}
    write_json(tmp_path / "a.json", content, sealed=True)
    (tmp_path / "a.yaml").write_text(sealed_text("# a\n", yaml.safe_dump(content, allow_unicode=True)), "utf-8")
    for path, read in ((tmp_path / "a.json", partial(read_json, sealed=True)), (tmp_path / "a.yaml", read_yaml)):
        whole, refused = path.read_bytes(), 0
        expected = repr(read(path))
        for bit in range(0, len(whole) * 8, 3):
            flipped = bytearray(whole)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            try:
                found = repr(read(path))
            except RecGNNError as error:
                refused += 1
                assert str(error).startswith(str(path)) and "\n" not in str(error)
            else:
                assert found == expected
        assert refused > len(whole)


def test_a_file_without_a_seal_is_read(tmp_path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"a": 1, "sha256": None}))
    assert read_json(tmp_path / "a.json") == {"a": 1}
    for text in ("[1]", "", "{", '{"a": 1' + "0" * 5000 + "}", "\xff"):
        (tmp_path / "a.json").write_text(text, "latin-1")
        with pytest.raises(RunError, match="a.json: cannot be read: "):
            read_json(tmp_path / "a.json")
    with pytest.raises(RunError, match="gone.json: cannot be read: No such file"):
        read_json(tmp_path / "gone.json")


def test_files_are_verified_by_name(tmp_path) -> None:
    (tmp_path / "a").write_text("abc")
    files = {"a": sha256_of(tmp_path / "a"), "b": "0" * 64}
    verify(tmp_path, files, ["a"])
    for names, message in ((["a", "b"], "b: is missing"), (["c"], "c: is missing")):
        with pytest.raises(RunError, match=message):
            verify(tmp_path, files, names)
    (tmp_path / "a").write_text("abd")
    with pytest.raises(RunError, match="a: is damaged"):
        verify(tmp_path, files, ["a"])


def test_reading_tells_whatever_fails() -> None:
    for error in (KeyError("x"), RecursionError("deep"), MemoryError(), UnicodeDecodeError("utf-8", b"x", 0, 1, "no")):
        with pytest.raises(RunError, match=r"^the file: is odd: .+"), reading("the file", "is odd"):
            raise error
    with pytest.raises(KeyboardInterrupt), reading("the file"):
        raise KeyboardInterrupt
