"""The space of a search: a W&B sweep configuration, read and checked."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from recgnn.cli.command_line import compose
from recgnn.data.stored import read_yaml
from recgnn.errors import ConfigError, Count, Depth, Range, check, did_you_mean, fits, one_of
from recgnn.files import configuration

if TYPE_CHECKING:
    from optuna import Trial

KEYS = ("program", "command", "method", "metric", "parameters", "early_terminate", "run_cap")
LABELS = ("name", "description", "project", "entity")  # of a sweep's page; a local search has none
LARGEST = 10**6  # values of a grid
DISTRIBUTIONS = {  # W&B's distributions that Optuna knows too, and their keys
    "constant": ("value",),
    "categorical": ("values",),
    "uniform": ("min", "max"),
    "int_uniform": ("min", "max"),
    "q_uniform": ("min", "max", "q"),
    "log_uniform_values": ("min", "max"),
    "q_log_uniform_values": ("min", "max", "q"),
}
MISSING = object()


@dataclass(frozen=True)
class Parameter:
    """An option that is searched: a choice, or a number between two bounds.

    Args:
        name: the option, without its dashes: `training.lr`.
        choices: the possible values; empty for a number.
        low: the lowest number.
        high: the highest number.
        log: whether its logarithm is drawn uniformly.
        step: the number of which values are multiples; None for any value.
        whole: whether it is an integer.
    """

    name: str
    choices: tuple[Any, ...] = ()
    low: float = 0
    high: float = 0
    log: bool = False
    step: float | None = None
    whole: bool = False

    def suggest(self, trial: Trial) -> Any:
        """Draw the option's value in an Optuna trial."""
        if self.choices:
            labels = [_label(choice) for choice in self.choices]
            return self.choices[labels.index(trial.suggest_categorical(self.name, labels))]
        if self.whole and not self.log:
            return trial.suggest_int(self.name, int(self.low), int(self.high), step=int(self.step or 1))
        step = None if self.log else self.step  # Optuna has no logarithm on a grid: rounded to it, as W&B does
        return self._on_grid(trial.suggest_float(self.name, self.low, self.high, step=step, log=self.log))

    def stored(self, value: Any) -> Any:
        """Return a value as Optuna stores it; MISSING for one outside the space."""
        if self.choices:
            same = (c for c in self.choices if isinstance(c, bool) == isinstance(value, bool) and c == value)
            return next(map(_label, same), MISSING)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        inside = number and self.low <= value <= self.high
        return value if inside and (self.step is None or math.isclose(self._on_grid(value), value)) else MISSING

    def examples(self) -> tuple[Any, ...]:
        """Return every choice, or the two bounds."""
        return self.choices or (self._on_grid(self.low), self._on_grid(self.high))

    def grid(self) -> tuple[Any, ...]:
        """Return all its values; empty if they cannot be counted, or are more than a search can try."""
        if self.choices or self.step is None or self.log or (self.high - self.low) / self.step > LARGEST:
            return self.choices
        count = round((self.high - self.low) / self.step) + 1
        return tuple(self._on_grid(self.low + i * self.step) for i in range(count))

    def _on_grid(self, value: float) -> float:
        """Round to a multiple of the step: 0.3, not 0.30000000000000004."""
        if self.step is not None:
            value = min(max(_multiple(value, self.step, round), self.low), self.high)
        return int(value) if self.whole else float(value)


@dataclass(frozen=True)
class Space:
    """A search space: its parameters, the metric to improve, and when a trial is given up.

    Args:
        path: the file it was read from.
        method: `bayes` (TPE), `random` or `grid`.
        metric: the validation metric.
        goal: `maximize` or `minimize`.
        parameters: the options that are searched.
        constants: options with the same value in every trial.
        hyperband: `min_iter` or `max_iter`, `eta`, `s` and `strict` of W&B's early termination; None for none.
        run_cap: the highest number of trials, or None.
    """

    path: Path
    method: Literal["bayes", "random", "grid"]
    metric: str
    goal: Literal["maximize", "minimize"]
    parameters: tuple[Parameter, ...]
    constants: dict[str, Any]
    hyperband: dict[str, Any] | None
    run_cap: int | None

    def combinations(self) -> Iterator[dict[str, Any]]:
        """Yield every combination of values of a grid, as Optuna stores them."""
        values = [[p.stored(value) for value in p.grid()] for p in self.parameters]
        for combination in itertools.product(*values):
            yield dict(zip((p.name for p in self.parameters), combination, strict=True))


def read_space(path: str | Path) -> Space:
    """Read a W&B sweep configuration.

    Raises:
        ConfigError: If something in it is wrong; names the parameter.
    """
    path = configuration(path, "sweeps", "space file")
    compose(path)
    content = read_yaml(path)
    try:
        return _space(path, content)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _space(path: Path, content: Any) -> Space:
    if not isinstance(content, dict) or not isinstance(content.get("parameters"), dict) or not content["parameters"]:
        raise ConfigError("is no search space: expected a W&B sweep configuration with `parameters`")
    _known("key", content, (*KEYS, *LABELS))
    method = content.get("method", "bayes")
    one_of("method", method, ("bayes", "random", "grid"))
    metric = content.get("metric")
    if not isinstance(metric, dict) or not isinstance(metric.get("name"), str):
        raise ConfigError("names no metric; expected, say, metric: {name: val/ndcg@10, goal: maximize}")
    _known("key of metric", metric, ("name", "goal"))
    if not metric["name"].startswith("val/"):
        raise ConfigError(f"metric {metric['name']}: a search goes by a validation metric, such as val/ndcg@10")
    goal = metric.get("goal", "minimize")  # W&B's default
    one_of("metric goal", goal, ("maximize", "minimize"))
    parameters: list[Parameter] = []
    constants: dict[str, Any] = {}
    for name, given in content["parameters"].items():
        parameter = _parameter(str(name), given)
        if isinstance(parameter, Parameter):
            parameters.append(parameter)
        else:
            constants[name] = parameter[0]
    if not parameters:
        raise ConfigError("every parameter has a single value: there is nothing to search")
    if method == "grid" and (endless := [p.name for p in parameters if not p.grid()]):
        raise ConfigError(f"method grid: {endless[0]} has no values to count; give it `values`, or take method: bayes")
    cap = content.get("run_cap")
    check("", {"run_cap": cap}, {"run_cap": Count | None})
    hyperband = _hyperband(content.get("early_terminate"))
    return Space(path, method, metric["name"], goal, tuple(parameters), constants, hyperband, cap)


def _parameter(name: str, given: Any) -> Parameter | tuple[Any]:
    """Return a parameter, or a constant's value in a tuple."""
    if not isinstance(given, dict):
        raise ConfigError(f"{name}: expected a value, values, or min and max; found {given!r}")
    if "parameters" in given:
        raise ConfigError(f"{name}: nested parameters are not for options; write {name}.lr and so on, one a line")
    kind = given.get("distribution") or _kind(given)
    one_of(f"{name}: distribution", kind, DISTRIBUTIONS)
    _known(f"key of {name}", given, ("distribution", *DISTRIBUTIONS[kind]))
    lacking = [key for key in DISTRIBUTIONS[kind] if key not in given and key != "q"]
    if lacking:
        raise ConfigError(f"{name}: {kind} needs {' and '.join(lacking)}")
    if kind == "constant":
        return (given["value"],)
    if kind == "categorical":
        values = given["values"]
        if not isinstance(values, list) or not values:
            raise ConfigError(f"{name}: values is {values!r}; expected a list of at least one")
        try:
            distinct = {json.dumps(v) for v in values}
        except TypeError as error:  # YAML knows dates
            raise ConfigError(f"{name}: values is {values}: {error}; put texts in quotes") from None
        if len(distinct) < len(values):
            raise ConfigError(f"{name}: a value stands twice in {values}")
        return Parameter(name, tuple(values))
    numbers = [given["min"], given["max"], given.get("q", 1)]
    for key, number in zip(("min", "max", "q"), numbers, strict=True):
        if not fits(number, Annotated[float, Range(-1e15, 1e15)]):
            hint = "; YAML takes it for a text: write 1.0e-4 for 1e-4" if isinstance(number, str) else ""
            raise ConfigError(f"{name}: {key} is {number!r}, expected a number from -1e15 to 1e15{hint}")
    return _number(name, kind, *numbers)


def _number(name: str, kind: str, low: float, high: float, step: float) -> Parameter:
    if low >= high:
        raise ConfigError(f"{name}: min {low} is not less than max {high}")
    log = "log" in kind
    if log and low <= 0:
        raise ConfigError(f"{name}: min is {low}, expected more than 0: {kind} goes by the logarithm")
    if kind == "int_uniform":
        if not (isinstance(low, int) and isinstance(high, int)):
            raise ConfigError(f"{name}: int_uniform needs whole bounds, found {low} and {high}")
        return Parameter(name, low=low, high=high, step=1, whole=True)
    if not kind.startswith("q_"):
        return Parameter(name, low=float(low), high=float(high), log=log)
    if step <= 0:
        raise ConfigError(f"{name}: q is {step}, expected more than 0")
    least, most = _multiple(low, step, math.ceil), _multiple(high, step, math.floor)
    if least >= most:
        raise ConfigError(f"{name}: there are no two multiples of q={step} between {low} and {high}")
    return Parameter(name, low=least, high=most, log=log, step=step, whole=isinstance(step, int))


def _kind(given: dict[str, Any]) -> str:
    """Return the distribution that W&B takes if none is named."""
    if "value" in given:
        return "constant"
    if "values" in given:
        return "categorical"
    bounds = given.get("min"), given.get("max")
    return "int_uniform" if all(isinstance(b, int) for b in bounds) else "uniform"


def _hyperband(given: Any) -> dict[str, Any] | None:
    if given is None:
        return None
    if not isinstance(given, dict) or given.get("type") != "hyperband":
        raise ConfigError("early_terminate: the only type is hyperband: {type: hyperband, min_iter: 8, eta: 2}")
    _known("key of early_terminate", given, ("type", "min_iter", "max_iter", "eta", "s", "strict"))
    if ("min_iter" in given) == ("max_iter" in given):
        raise ConfigError("early_terminate: hyperband needs min_iter or max_iter, the epochs of its first or last look")
    ranges = {"min_iter": Count, "max_iter": Count, "eta": Annotated[int, Range(2, 1000)], "s": Depth}
    check("early_terminate", given, ranges)
    if "max_iter" in given and "s" not in given:
        raise ConfigError("early_terminate: hyperband with max_iter needs s, how many times it looks")
    return {key: value for key, value in given.items() if key != "type"}


def _known(what: str, given: dict[Any, Any], known: tuple[str, ...]) -> None:
    for key in given:
        if key not in known:
            raise ConfigError(f"unknown {what}: {key}{did_you_mean(key, known) or '; there are: ' + ', '.join(known)}")


def _multiple(value: float, step: float, rounding: Any) -> float:
    """Return the multiple of `step` next to a value; a multiple stays, whatever its last digits."""
    ratio = value / step
    count = round(ratio) if math.isclose(ratio, round(ratio), abs_tol=1e-9) else rounding(ratio)
    return count * step if isinstance(step, int) else float(f"{count * step:.12g}")


def _label(choice: Any) -> Any:
    """Return a choice as Optuna can store it: lists and dicts as JSON."""
    return choice if choice is None or isinstance(choice, bool | int | float | str) else json.dumps(choice)
