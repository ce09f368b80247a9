"""The classes that a configuration can name without a module: a closed table of the project's own, by place.

A class of one's own is named by its dotted path, such as `mine.MyModel`.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from inspect import Parameter, getmembers, isfunction, signature
from types import UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from recgnn.cli.own_code import mistake_in_own_code
from recgnn.errors import ConfigError, did_you_mean
from recgnn.models.base import Model
from recgnn.training.base import Training, suited


class Place(NamedTuple):
    """Where in a configuration a class can be named.

    Attributes:
        what: What such a class is called in messages.
        modules: The modules whose classes have short names here.
        bases: Base classes by dotted path: those that a class here extends, none of which is meant itself.
        named: Whether text that is no class is a name of another kind, as `in_batch` for negatives.
    """

    what: str
    modules: tuple[str, ...]
    bases: tuple[str, ...]
    named: bool = False


def _in(module: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{module}.{name}" for name in names)


LOSSES, CONTRASTIVE = "recgnn.nn.losses", "recgnn.nn.contrastive"
METRICS, NEGATIVES = "recgnn.evaluation.metrics", "recgnn.data.interactions.sampling"
PLACES = {
    "data": Place("data module", ("recgnn.data",), ("lightning.LightningDataModule",)),
    "data.source": Place("source", ("recgnn.data",), _in("recgnn.data", "Source", "EventSource")),
    "data.filters": Place("filter", ("recgnn.data",), _in("recgnn.data", "Filter")),
    "data.split": Place("split", ("recgnn.data",), _in("recgnn.data", "Split")),
    "data.hard_negatives": Place(
        "class of candidates", ("recgnn.serving.candidates",), _in("recgnn.data.clicks.negatives", "Candidates")
    ),
    "model": Place(
        "model",
        ("recgnn.models",),
        ("recgnn.models.base.Model", "recgnn.models.base.Recommender", "recgnn.models.ctr.CTRModel"),
    ),
    "training": Place(
        "training",
        ("recgnn.training.recommenders", "recgnn.training.clicks"),
        ("recgnn.training.base.Training", "recgnn.training.recommenders.RecommenderTraining"),
    ),
    "training.loss": Place(
        "loss",
        (LOSSES, CONTRASTIVE),
        (*_in(LOSSES, "Loss", "PairLoss", "RowLoss", "RatingLoss", "EventLoss"), f"{CONTRASTIVE}.CosineLoss"),
    ),
    "training.negatives": Place("class of negatives", (NEGATIVES,), _in(NEGATIVES, "Negatives"), named=True),
    "training.metrics": Place(
        "metric",
        _in(METRICS, "clicks", "ranking", "regression"),
        _in(METRICS, "Metric", "RankingMetric", "CatalogueMetric", "ClickMetric", "ErrorMetric"),
        named=True,
    ),
}
"""By the dotted place in a configuration, without `init_args`."""


@cache
def classes_at(place: str) -> dict[str, type]:
    """Collect the project's own classes for a place of `PLACES`, by their short name."""
    bases = tuple(class_at_path(path) for path in PLACES[place].bases)
    found = {}
    for module in map(import_module, PLACES[place].modules):
        for name in getattr(module, "__all__", vars(module)):
            cls = getattr(module, name)
            own = isinstance(cls, type) and issubclass(cls, bases) and cls not in bases
            if own and cls.__module__.startswith("recgnn.") and not name.startswith("_"):
                found[name] = cls
    return dict(sorted(found.items()))


def class_at_path(path: str) -> type:
    """Import a class by its dotted path.

    Raises:
        ImportError, AttributeError: If there is none.
    """
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def path_of(cls: type) -> str:
    """Return the dotted path of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


def class_named(place: str, name: str) -> type:
    """Look up the class that a configuration names at a place.

    Args:
        place: A key of `PLACES`.
        name: A short name of the closed table, or a dotted path.

    Raises:
        ConfigError: If there is no such class, or it is of another kind; names the nearest.
    """
    what, known = PLACES[place].what, classes_at(place)
    if "." not in name:
        if name not in known:
            hint = did_you_mean(name, known) or f"; there are {', '.join(known)}"
            raise ConfigError(f"{place}: no {what} is named {name}{hint}, or a dotted path, as mine.{name}")
        return known[name]
    try:
        cls = class_at_path(name)
    except Exception as error:  # of the module's code, or of a path that is none
        hint, why = did_you_mean(name.rpartition(".")[2], known), " ".join(str(error).split())
        raise ConfigError(f"{place}: {name} cannot be imported: {mistake_in_own_code(error) or why}{hint}") from error
    bases = PLACES[place].bases
    if not isinstance(cls, type) or not issubclass(cls, tuple(map(class_at_path, bases))):
        raise ConfigError(f"{place}: {name} is no {what}: it does not extend {bases[0]}")
    if not cls.__module__.startswith("recgnn."):
        _check_methods(f"{place}: {name}", cls)
    return cls


def _check_methods(told: str, cls: type) -> None:
    """Refuse a class of one's own that lacks a method, or whose method cannot be called as that of recgnn's class is.

    Raises:
        ConfigError: Names the method, and how it is called.
    """
    theirs = [base for base in cls.__mro__ if base.__module__.startswith("recgnn.")]
    if lacking := sorted(getattr(cls, "__abstractmethods__", ())):
        raise ConfigError(f"{told} does not define {' and '.join(lacking)}; a subclass of {theirs[0].__name__} must")
    for name, own in getmembers(cls, isfunction):
        base = next((vars(base)[name] for base in theirs if isfunction(vars(base).get(name))), own)
        if base is own or (name.startswith("_") and name != "__call__"):
            continue
        given = [p for p in signature(base).parameters.values() if p.kind is Parameter.POSITIONAL_OR_KEYWORD]
        try:
            signature(own).bind_partial(*given)
        except TypeError:
            called, takes = (", ".join([p.name for p in of][1:]) for of in (given, signature(own).parameters.values()))
            raise ConfigError(f"{told}.{name} takes ({takes}), and is called with ({called})") from None


def argument_names(cls: Any) -> list[str]:
    """List the arguments of a class's constructor; none if its signature is unknown."""
    try:
        parameters = signature(cls).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p.name for p in parameters if p.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)]


def training_arguments() -> set[str]:
    """List the arguments of all trainings: what a configuration may have under `training`."""
    return {name for cls in classes_at("training").values() for name in argument_names(cls)} - {"model"}


def default_training(model: type[Model] | None, data_task: str | None) -> type[Training]:
    """Choose the training where a configuration names none: for the model's first task, or for the data's.

    Args:
        model: The model's class, None if none is given.
        data_task: The task that the data module was given, if any.
    """
    by_task = {cls.task: cls for cls in classes_at("training").values() if issubclass(cls, Training)}
    tasks = model.tasks if model is not None else ("ranking",)
    return by_task[data_task if data_task in tasks else tasks[0]]  # type: ignore[index]


def check_fit(training: type[Training], model: type[Model]) -> None:
    """Refuse a training that is not for the model.

    Raises:
        ConfigError: Names the trainings that are.
    """
    if training.task not in model.tasks:
        able = [name for name, cls in classes_at("training").items() if getattr(cls, "task", None) in model.tasks]
        raise ConfigError(
            f"training: {training.__name__} is for the task {training.task}, and {model.__name__} is for "
            f"{' or '.join(model.tasks)}; take {' or '.join(able)}, or leave `training` out"
        )


def default_arguments(
    training: type[Training], model: type[Model] | None, loss: type | None = None
) -> dict[str, Any]:
    """Return the arguments of a training that the `defaults` of a model, and of the loss, set, and the default loss, as
    a configuration has them."""
    names, hints = argument_names(training), get_type_hints(training.__init__)
    defaults: dict[str, Any] = {}
    if model is None:
        return {}
    for name, value in [("loss", training.default_loss), *suited(model, loss, training.by_log).items()]:
        if name not in names or value is None or (isinstance(value, type) and not _accepts(hints[name], value)):
            continue
        defaults[name] = {"class_path": path_of(value)} if isinstance(value, type) else value
    return defaults


def _accepts(hint: Any, cls: type) -> bool:
    """Whether a type hint takes objects of a class."""
    if get_origin(hint) in (Union, UnionType):
        return any(_accepts(one, cls) for one in get_args(hint))
    return isinstance(hint, type) and issubclass(cls, hint)
