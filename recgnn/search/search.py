"""A search: trials one after another, kept in a folder from which it goes on after any end."""

from __future__ import annotations

import gc
import itertools
import shutil
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import optuna
import torch
import yaml
from filelock import FileLock
from optuna.trial import FrozenTrial, Trial, TrialState

from recgnn.cli.entry import Terminated
from recgnn.cli.fitting import configuration
from recgnn.cli.options import option
from recgnn.data.stored import flat
from recgnn.errors import ConfigError, RecGNNError, RunError
from recgnn.files import locked, sweep
from recgnn.search.pruning import Bands
from recgnn.search.space import MISSING, Space
from recgnn.search.study import LOCK, is_held, open_study, plain
from recgnn.search.trial_training import Watch, train, value_of

optuna.logging.set_verbosity(optuna.logging.ERROR)
STOPPED = "stopped by a person"
STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


class Search:
    """Trials of values from a space, the first one with the configuration's own.

    Several processes may work on one folder. A trial whose process has ended without it is repeated once.

    Args:
        space: the space to search.
        options: the options of `fit`, without those that are searched.
        output: folder of the search, for its database and a run folder per trial.
        prune: `hyperband` as in the space, `median`, or `none`.
        seed: seed of the draws, trial by trial, so that a search that was stopped goes on as if it had not been.
        keep_all: keep every trial's checkpoints instead of the best one's.
    """

    def __init__(self, space: Space, options: list[str], output: Path, prune: str, seed: int, keep_all: bool):
        self.space, self.output, self.seed, self.keep_all = space, output, seed, keep_all
        self.options = [*options, *(option(name, value) for name, value in space.constants.items())]
        self.config = configuration(self.options)
        self.own = {p.name: value_of(yaml.safe_load(self.config), p.name) for p in space.parameters}
        self._check_parameters(options)
        pruner = {
            "hyperband": lambda: Bands(**space.hyperband or {}),
            "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=5),
            "none": optuna.pruners.NopPruner,
        }[prune]()
        self.process = uuid.uuid4().hex[:12]
        what: dict[str, Any] = {
            "metric": f"{space.metric}, {space.goal}",
            "space": {p.name: repr(p) for p in space.parameters},
            "configuration": flat(yaml.safe_load(self.config)),
        }
        self.study = open_study(output, space.goal, pruner, what)

    def _check_parameters(self, options: list[str]) -> None:
        """Refuse options that `fit` would refuse, before anything is trained."""
        given = {plain(o.partition("=")[0].removeprefix("--")) for o in options if o.startswith("--")}
        for name in (*self.own, *self.space.constants):
            if plain(name) in given:
                raise ConfigError(f"--{name} is in the space {self.space.path} too; leave it out of one of them")
        examples = {p.name: p.examples() for p in self.space.parameters}
        for number in range(max(map(len, examples.values()))):  # of each parameter one value at a time
            options = [option(name, values[number % len(values)]) for name, values in examples.items()]
            if (mistake := self._mistake(options)) is None:
                continue
            guilty = [one.partition("=")[0].removeprefix("--") for one in options if self._mistake([one])]
            raise ConfigError(": ".join([str(self.space.path), *guilty[:1], str(mistake)]))

    def _mistake(self, options: list[str]) -> ConfigError | None:
        """Return the mistake in options of `fit` that are added to the search's own."""
        try:
            configuration([*self.options, *options])
        except ConfigError as error:
            return error
        return None

    def _process_lock(self, process: str) -> Path:
        return self.output / "processes" / f"{process}.lock"

    # ---- trials

    def run(self, trials: int, timeout: float | None, tell: Callable[[FrozenTrial], None]) -> None:
        """Train until there are enough trials, or the time is over (a running trial is not cut off).

        Args:
            trials: the number of trials, those of earlier calls included.
            timeout: seconds after which no trial is started; None for no limit.
            tell: called with each trial when it has ended.

        Raises:
            RecGNNError: If the configuration's own values cannot be trained.
        """
        end = None if timeout is None else time.monotonic() + timeout
        mine = self._process_lock(self.process)
        mine.parent.mkdir(exist_ok=True)
        try:
            with FileLock(mine):
                while end is None or time.monotonic() < end:
                    trial = self._next(trials)
                    if trial is None:
                        break
                    error = self._train(trial)
                    if error is not None and trial.user_attrs.get("baseline"):
                        raise error
                    tell(self.study.trials[trial.number])
        finally:
            mine.unlink(missing_ok=True)

    def alone(self) -> AbstractContextManager[None]:
        """Lock the search: other processes wait until the context ends."""
        return locked(self.output / LOCK)

    def _next(self, most: int) -> Trial | None:
        """Return the next trial with its values; None if there are enough."""
        with self.alone():
            self._retire()
            trials = self.study.trials
            counted = sum(t.state != TrialState.WAITING and "stopped" not in t.user_attrs for t in trials)
            if counted >= most:
                return None
            if not any(t.user_attrs.get("baseline") and t.state != TrialState.FAIL for t in trials):
                inside = {p.name: p.stored(self.own[p.name]) for p in self.space.parameters}
                inside = {name: value for name, value in inside.items() if value is not MISSING}
                self.study.enqueue_trial(inside, user_attrs={"baseline": True})
            if self.space.method == "grid":
                for combination in itertools.islice(self.space.combinations(), most):
                    self.study.enqueue_trial(combination, skip_if_exists=True)
                if not self.study.get_trials(states=(TrialState.WAITING,)):
                    return None
            self.study.sampler = self._sampler(counted)
            trial = self.study.ask()
            trial.set_user_attr("process", self.process)
            values = {}
            for parameter in self.space.parameters:
                own = self.own[parameter.name]
                outside = trial.user_attrs.get("baseline") and parameter.stored(own) is MISSING
                values[parameter.name] = own if outside else parameter.suggest(trial)
            trial.set_user_attr("values", {k: None if v is MISSING else v for k, v in values.items()})
            return trial

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        seed = (self.seed * 100_003 + number) % 2**32
        if self.space.method == "bayes":
            return optuna.samplers.TPESampler(seed=seed, n_startup_trials=6)
        return optuna.samplers.RandomSampler(seed=seed)

    def _retire(self) -> None:
        """End the trials whose process has ended, and queue each once more."""
        for trial in self.study.get_trials(states=(TrialState.RUNNING,)):
            process = trial.user_attrs.get("process")
            if process == self.process or (process and is_held(self._process_lock(process))):
                continue
            sweep([*self.folder(trial.number).rglob(".tmp-*")])
            again, baseline = "again" not in trial.user_attrs, trial.user_attrs.get("baseline")
            live = Trial(self.study, trial._trial_id)
            live.set_user_attr("error", "its process ended before it did")
            if again or baseline:
                live.set_user_attr("stopped", True)
            self.study.tell(trial.number, state=TrialState.FAIL)
            if again and not baseline and "values" in trial.user_attrs:  # else its draw comes again by itself
                self.study.enqueue_trial(trial.params, user_attrs={"again": trial.number})

    def _train(self, trial: Trial) -> RecGNNError | None:
        """Train a trial and record how it ended; return the mistake that ended it, if any."""
        baseline = trial.user_attrs.get("baseline")

        def give_up(epochs: int, value: float) -> bool:
            trial.report(value, epochs)
            return not baseline and trial.should_prune()

        watch, started = Watch(self.space, give_up), time.monotonic()
        error: RecGNNError | None = None
        try:
            train(self.options_of(self.study.trials[trial.number]), self.folder(trial.number), watch)
            if watch.best is None:
                error = ConfigError(f"{self.space.metric} was never a number")
        except RecGNNError as mistake:
            error = mistake
        except torch.OutOfMemoryError as mistake:
            error = RunError(f"out of memory: {str(mistake).splitlines()[0]}")
        except BaseException as bug:
            stop = isinstance(bug, KeyboardInterrupt | Terminated)
            self._end(trial, watch, STOPPED if stop else f"{type(bug).__name__}: {bug}", started)
            raise
        self._end(trial, watch, None if error is None else str(error), started)
        gc.collect()
        return error

    def _end(self, trial: Trial, watch: Watch, error: str | None, started: float) -> None:
        trial.set_user_attr("seconds", round(time.monotonic() - started, 1))
        trial.set_user_attr("epochs", watch.epochs)
        if watch.best is not None:
            trial.set_user_attr("best_epoch", watch.best[0])
            trial.set_user_attr("best_value", watch.best[1])
        with self.alone():
            baseline = trial.user_attrs.get("baseline")
            if error == STOPPED or (error is not None and baseline):  # it is still to be done
                trial.set_user_attr("stopped", True)
            if error == STOPPED and not baseline:
                self.study.enqueue_trial(trial.params)
            if error is not None:
                trial.set_user_attr("error", " ".join(error.split()))
                self.study.tell(trial, state=TrialState.FAIL)
            elif watch.pruned:
                self.study.tell(trial, state=TrialState.PRUNED)
            elif watch.best is not None:
                self.study.tell(trial, watch.best[1])
            if not self.keep_all:
                self._tidy()

    def _tidy(self) -> None:
        """Remove the checkpoints of all ended trials but the best one."""
        best = self.best
        for trial in self.study.get_trials(deepcopy=False):
            if trial.state.is_finished() and (best is None or trial.number != best.number):
                for name in ("checkpoints", "vocabulary"):
                    shutil.rmtree(self.folder(trial.number) / name, ignore_errors=True)

    # ---- results

    @property
    def trials(self) -> list[FrozenTrial]:
        """The trials that have ended, without those that were stopped and will be repeated."""
        return [t for t in self.study.trials if t.state.is_finished() and "stopped" not in t.user_attrs]

    @property
    def best(self) -> FrozenTrial | None:
        """The best complete trial, the earliest of equals; None if there is none."""
        sign = -1 if self.space.goal == "maximize" else 1
        complete = self.study.get_trials(states=(TrialState.COMPLETE,))
        return min(complete, key=lambda t: (sign * t.values[0], t.number), default=None)

    @property
    def baseline(self) -> FrozenTrial | None:
        """The complete trial with the configuration's own values."""
        complete = self.study.get_trials(states=(TrialState.COMPLETE,))
        return next((t for t in complete if t.user_attrs.get("baseline")), None)

    def folder(self, number: int) -> Path:
        """Return the run folder of a trial."""
        return self.output / "trials" / str(number)

    def options_of(self, trial: FrozenTrial) -> list[str]:
        """Return the options of `fit` that a trial trains with."""
        if trial.user_attrs.get("baseline"):
            return self.options
        return [*self.options, *(option(name, value) for name, value in trial.user_attrs["values"].items())]
