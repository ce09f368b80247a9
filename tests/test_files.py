"""Files are whole or absent, and what cannot be written is said in one line."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import sys
import time
from pathlib import Path

import pytest

from recgnn.errors import DataError, RunError
from recgnn.files import (
    atomic_folder,
    atomic_path,
    cache_folder,
    existing_file,
    large_array,
    locked,
    sha256_of,
)


def test_atomic_path_writes_all_or_nothing(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "a.txt"
    with atomic_path(target) as temporary:
        assert temporary.suffix == ".txt" and temporary.parent == target.parent
        temporary.write_text("one")
        assert not target.exists()
    assert target.read_text() == "one"
    with pytest.raises(ZeroDivisionError), atomic_path(target) as temporary:
        temporary.write_text("two")
        raise ZeroDivisionError
    assert target.read_text() == "one"
    assert [p.name for p in target.parent.iterdir()] == ["a.txt"]


def mapped_files(folder: Path) -> list[str]:
    """The files of a folder that this process has as memory."""
    return [line for line in Path("/proc/self/maps").read_text().splitlines() if f"{folder}/" in line]


@pytest.mark.skipif(sys.platform != "linux", reason="large arrays are in memory there")
def test_a_large_array_is_in_a_file_without_a_name_as_long_as_it_is_used(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("recgnn.files.MAPPED", 4096)
    small, large = large_array(511, "int64"), large_array((2, 256), "int64")
    large[:] = small[:1] = 7
    assert large.shape == (2, 256) and large.dtype == "int64" and (large.sum(), small[0]) == (3584, 7)
    (line,) = mapped_files(tmp_path)
    assert "rw-s" in line and "(deleted)" in line and not [*tmp_path.iterdir()]
    del large
    assert not mapped_files(tmp_path)


@pytest.mark.parametrize("fault", ["no folder", "no room on the disk"])
def test_a_large_array_is_in_memory_where_no_file_can_be_had(fault: str, tmp_path: Path, monkeypatch) -> None:
    def full(*args: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("TMPDIR", str(tmp_path / "absent" if fault == "no folder" else tmp_path))
    monkeypatch.setattr("recgnn.files.MAPPED", 4096)
    if fault == "no room on the disk":
        monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    large = large_array(1024, "float32")
    large[:] = 1
    assert large.sum() == 1024 and not mapped_files(tmp_path)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_content_is_on_disk_before_its_name_is(kind: str, tmp_path: Path, monkeypatch) -> None:
    """A loss of power after the move finds the whole content: what was written, then the folder's list of names."""
    told: list[str] = []
    sync, replace = os.fsync, os.replace

    def synced(handle: int) -> None:
        told.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name.rpartition("-")[2])
        sync(handle)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", lambda *paths: (told.append("move"), replace(*paths))[1])
    target = tmp_path / "there"
    with (atomic_path if kind == "file" else atomic_folder)(target) as temporary:
        (temporary if kind == "file" else temporary / "inner").write_text("x")
    first = "there" if kind == "file" else "inner"
    assert first in told[: told.index("move")] and tmp_path.name in told[told.index("move") :]


def test_atomic_folder_replaces_whole_folders(tmp_path: Path) -> None:
    target = tmp_path / "run"
    for content in ("one", "two"):
        with atomic_folder(target) as temporary:
            (temporary / f"{content}.txt").write_text(content)
    assert [p.name for p in target.iterdir()] == ["two.txt"]
    with pytest.raises(KeyError), atomic_folder(target) as temporary:
        (temporary / "three.txt").write_text("three")
        raise KeyError
    assert [p.name for p in target.iterdir()] == ["two.txt"]
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_what_a_dead_process_left_is_removed_and_what_a_living_one_works_on_is_not(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_die_while_writing, args=(tmp_path / "a.txt",))
    process.start()
    process.join(20)
    assert process.exitcode == 9 and [p.name[:5] for p in tmp_path.iterdir()] == [".tmp-"]
    with atomic_path(tmp_path / "b.txt") as own:
        own.write_text("b")
        with atomic_folder(tmp_path / "c"):
            assert own.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.txt", "c"]


def _die_while_writing(path: Path) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        os._exit(9)


@pytest.mark.skipif(sys.platform != "linux", reason="folders are exchanged in one move on Linux alone")
def test_a_folder_is_replaced_without_a_moment_of_absence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, moves = tmp_path / "run", []
    for content in "ab":
        with atomic_folder(target) as temporary:
            (temporary / content).touch()
            if content == "b":  # from now on no move may take the folder away
                monkeypatch.setattr(os, "replace", lambda *paths: moves.append(paths))
    assert [p.name for p in target.iterdir()] == ["b"] and not moves


@pytest.mark.parametrize("atomic", [atomic_path, atomic_folder])
def test_a_place_that_cannot_be_written_is_a_run_error(tmp_path: Path, atomic) -> None:
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "x.bin"
    with pytest.raises(RunError, match="x.bin: cannot be written: a file stands where"):
        with atomic(target):
            pass
    with pytest.raises(RunError, match="file: cannot be written: a file stands where"):
        with atomic_folder(tmp_path / "file"):
            pass
    assert (tmp_path / "file").read_text() == ""
    for nameless in ("", ".", "/"):
        with pytest.raises(RunError, match="cannot be written: give the name of a new file or folder"):
            with atomic(nameless):
                pass


def test_a_full_disk_is_a_run_error_that_names_the_path(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="best.ckpt: cannot be written: No space left on device"):
        with atomic_path(tmp_path / "best.ckpt") as temporary:
            temporary.write_bytes(b"half")
            raise OSError(28, "No space left on device")
    assert not list(tmp_path.iterdir())


def test_errors_about_other_files_pass_through(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "out.txt"):
        (tmp_path / "elsewhere" / "input.txt").read_text()


def test_existing_file_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text("x")
    assert existing_file(tmp_path / "ratings.csv") == tmp_path / "ratings.csv"
    with pytest.raises(DataError, match=r"no such file \(did you mean 'ratings.csv'\?\)"):
        existing_file(tmp_path / "rating.csv")
    with pytest.raises(DataError, match=r"is a folder.*it holds ratings.csv"):
        existing_file(tmp_path)
    with pytest.raises(DataError, match="the folder .* does not exist"):
        existing_file(tmp_path / "no" / "ratings.csv")


def test_sha256_and_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
    monkeypatch.setenv("RECGNN_CACHE", str(tmp_path / "env"))
    assert cache_folder() == tmp_path / "env"
    assert cache_folder(tmp_path / "given") == tmp_path / "given"
    monkeypatch.delenv("RECGNN_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "recgnn"


def _enter(lock: str, log: str, name: str) -> None:
    with locked(lock):
        for event in ("in", "out"):
            with open(log, "a") as file:
                file.write(f"{name} {event}\n")
            time.sleep(0.05)


def test_a_lock_admits_one_process_at_a_time(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    arguments = [(str(tmp_path / "x.lock"), str(tmp_path / "log"), n) for n in "abc"]
    processes = [context.Process(target=_enter, args=a) for a in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join(20)
    events = (tmp_path / "log").read_text().split("\n")[:-1]
    assert len(events) == 6
    for entered, left in zip(events[::2], events[1::2], strict=True):
        assert entered.split()[0] == left.split()[0]
        assert (entered.split()[1], left.split()[1]) == ("in", "out")
