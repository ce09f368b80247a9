"""The run that is served, and the next one in its place."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recgnn.errors import ConfigError, RecGNNError, RunError
from recgnn.serving.http import answers
from recgnn.serving.http.bodies import MAX_IDS, MAX_LISTED, Body, Recommend
from recgnn.serving.loading import load
from recgnn.training import run_folder as runs

MAX_WAITING = 1000  # questions that wait for an answer


class Busy(RecGNNError):
    """More questions wait than are taken."""


@dataclass(frozen=True)
class Loaded:
    """A run that is ready to answer.

    Attributes:
        run: what `recgnn.load` returns.
        version: names what was loaded; another one after a reload.
        since: when it was loaded, in seconds.
    """

    run: Any
    version: str
    since: float = field(default_factory=time.time)


def version_of(run: Path, finished: bool = False) -> str:
    """Name what a run folder holds: the place that it really is at, and when its files were written.

    Args:
        run: the run folder, or a link to it.
        finished: whether to refuse a run in the middle of its training.

    Raises:
        RunError: if it is no run folder.
    """
    folder = runs.existing_run(run).resolve()
    last = [folder / name for name in (runs.PIPELINE, "metrics.json") if (folder / name).is_file()]
    if finished and not last:
        raise RunError(f"{run}: is not finished, it has no metrics.json")
    if folder / runs.PIPELINE not in last:
        last += [runs.best_checkpoint(folder), folder / "vocabulary/summary.json"]
    try:
        times = json.dumps([str(folder), *(file.stat().st_mtime_ns for file in last)])
    except OSError as error:
        raise RunError(f"{error.filename}: {error.strerror}") from error
    return f"{folder.name}-{hashlib.sha256(times.encode()).hexdigest()[:12]}"


def loaded(run: Path, trust: bool = False, index: bool = False) -> Loaded:
    """Load a run, and ask it once, so that all that it computes but once is there.

    Args:
        run: the run folder.
        trust: see `recgnn.load`.
        index: whether recommendations are searched for in an index.

    Raises:
        RunError: if it cannot be loaded.
        ConfigError: if its items have no vectors for an index.
    """
    version = version_of(run)
    model = load(run.expanduser().resolve(), trust)
    if index:
        if not hasattr(model, "use_index"):
            raise ConfigError(f"--index: {run} is no run of a model of interactions, such as LightGCN; leave it out")
        model.use_index()
    try:
        model.recommend(model.users.decode([0]).tolist(), k=1)
    except (RecGNNError, AttributeError):
        pass  # a run of events without users and items: it predicts rows
    return Loaded(model, version)


class Current:
    """The run that is served. Questions are answered in one thread, those that are alike together; a new run is loaded
    in another one, and answers the questions that come after it is ready.

    Args:
        run: the run folder.
        trust: see `recgnn.load`.
        index: whether recommendations are searched for in an index of the items.
        batched: is told how many questions were answered together.
    """

    def __init__(
        self, run: Path, trust: bool = False, index: bool = False, batched: Callable[[int], None] = lambda count: None
    ):
        self.folder, self.trust, self.index, self.batched = run, trust, index, batched
        self.loaded = loaded(run, trust, index)
        self._thread = ThreadPoolExecutor(1, "answers")
        self._questions: list[tuple[Recommend, asyncio.Future]] = []
        self._waiting, self._reloading = 0, asyncio.Lock()
        self._runner: asyncio.Task | None = None

    # ---- answering

    async def answer(self, question: Body) -> dict[str, Any]:
        """Answer any question, with the version of the run that did.

        Raises:
            Busy: if too many wait.
            RecGNNError: if it is refused.
        """
        if isinstance(question, Recommend):
            lists, by = await self.recommend(question)
            return {"version": by.version, "lists": lists}
        by, function = self.loaded, answers.ONE_BY_ONE[type(question)]
        with _Counted(self):
            found = await asyncio.get_running_loop().run_in_executor(self._thread, function, by.run, question)
        return {"version": by.version, **found}

    async def recommend(self, question: Recommend) -> tuple[Any, Loaded]:
        """Answer a question about users, together with those like it that came while others were answered.

        Raises:
            Busy: if too many wait.
            RecGNNError: if it is refused.
        """
        with _Counted(self):
            future = asyncio.get_running_loop().create_future()
            self._questions.append((question, future))
            if self._runner is None:
                self._runner = asyncio.create_task(self._answer_all())
            answer, current = await future
        if isinstance(answer, RecGNNError):
            raise answer
        return answer, current

    async def _answer_all(self) -> None:
        """Answer what has come, a group after the other, until nothing is left."""
        try:
            while self._questions:
                alike: dict[str, list[tuple[Recommend, asyncio.Future]]] = {}
                for question, future in self._questions:
                    alike.setdefault(question.model_dump_json(exclude={"users", "history"}), []).append(
                        (question, future)
                    )
                self._questions = []
                for group in alike.values():
                    for some in _of_at_most(group, min(MAX_IDS, MAX_LISTED // group[0][0].k)):
                        await self._answer(some)
        finally:
            self._runner = None

    async def _answer(self, group: list[tuple[Recommend, asyncio.Future]]) -> None:
        current, loop = self.loaded, asyncio.get_running_loop()
        questions = [question for question, _ in group]
        self.batched(len(group))
        try:
            found = await loop.run_in_executor(self._thread, answers.recommend, current.run, questions)
        except BaseException as error:  # whoever waits must hear of it
            for _, future in group:
                if not future.done():
                    future.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        for (_, future), answer in zip(group, found, strict=True):
            if not future.done():  # nobody waits any more
                future.set_result((answer, current))

    # ---- the next run

    async def reload(self) -> Loaded:
        """Load what the run folder holds now. Until it is ready, and if it cannot be loaded, the old run answers.

        Raises:
            RunError: if it cannot be loaded.
        """
        async with self._reloading:
            self.loaded = await asyncio.to_thread(loaded, self.folder, self.trust, self.index)
            return self.loaded

    async def watch(self, seconds: float, told: Callable[[str], None]) -> None:
        """Reload whenever the run folder holds another finished run; what cannot be loaded is told once."""
        refused = line = ""
        while True:
            await asyncio.sleep(seconds)
            try:
                now = await asyncio.to_thread(version_of, self.folder, finished=True)
                if now in (self.loaded.version, refused):
                    continue
                refused, before = now, line
                line = f"reloaded {self.folder}: {(await self.reload()).run}"
            except Exception as error:  # of any kind: the watch must not end
                kind = "" if isinstance(error, RecGNNError) else f"{type(error).__name__}: "
                before, line = line, f"not reloaded, the run before goes on: {kind}{error}"
            if line != before or line.startswith("reloaded"):
                told(line)


def _of_at_most(group: list[tuple[Recommend, asyncio.Future]], size: int) -> list[list]:
    """Cut a group of questions so that each part asks for so many users at most, or is a single question."""
    parts: list[list] = []
    count = size
    for one in group:
        users = len(one[0].users or [None])
        if count + users > size:
            parts.append([])
            count = 0
        parts[-1].append(one)
        count += users
    return parts


class _Counted:
    """Counts a question while it waits; refuses one too many."""

    def __init__(self, current: Current):
        self.current = current

    def __enter__(self) -> None:
        if self.current._waiting >= MAX_WAITING:
            raise Busy(f"{MAX_WAITING:,} questions wait already; ask again in a moment")
        self.current._waiting += 1

    def __exit__(self, *_: object) -> None:
        self.current._waiting -= 1
