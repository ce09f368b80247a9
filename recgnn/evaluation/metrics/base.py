"""The base of all metrics: small objects with a name and a direction, chosen by short name or by `class_path`."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping, Sequence
from typing import TypeVar

from recgnn.errors import Checked, ConfigError, did_you_mean


class Metric(Checked, ABC):
    """A figure that says how good predictions are; an object without state, so parts of the data may share it.

    Attributes:
        name: the name it is logged under; a subclass that gives none is called after its class, in lower case.
        higher_is_better: whether it is to be raised or lowered; None where neither is better.
    """

    name: str
    higher_is_better: bool | None = True

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "name" not in vars(cls):
            cls.name = cls.__name__.lower()


M = TypeVar("M", bound=Metric)


def chosen(metrics: Sequence[str | M], table: Mapping[str, type[M]], kinds: tuple[type[M], ...]) -> list[M]:
    """Make the metrics of a list of short names and objects, in its order.

    Args:
        metrics: short names of `table`, or metrics of one's own.
        table: the classes that have a short name.
        kinds: base classes of what can be counted here.

    Raises:
        ConfigError: for an unknown name, an object of another kind, a name that stands twice, or an empty list.
    """
    if isinstance(metrics, str) or not metrics:
        raise ConfigError(f"metrics: found {metrics!r}, expected a list such as [{', '.join(list(table)[:2])}]")
    made: dict[str, M] = {}
    for entry in metrics:
        if isinstance(entry, str):
            if entry not in table:
                raise ConfigError(
                    f"metrics: no metric is named {entry!r}{did_you_mean(entry, table)}; there are {', '.join(table)}"
                )
            entry = table[entry]()
        if not isinstance(entry, kinds):
            raise ConfigError(
                f"metrics: found a {type(entry).__name__}, expected a name ({', '.join(table)}) or a "
                f"{' or '.join(kind.__name__ for kind in kinds)}"
            )
        if entry.name in made:
            raise ConfigError(f"metrics: two are named {entry.name!r}; leave one out or give it another name")
        made[entry.name] = entry
    return list(made.values())


def monitored(metrics: Sequence[Metric], preferred: str | None = None) -> tuple[str, str]:
    """Choose of `metrics` the one that tells the best epoch: the preferred one, or else the first that has a direction.

    Returns:
        Its name, and "max" or "min".

    Raises:
        ConfigError: if none has a direction.
    """
    directed = [metric for metric in metrics if metric.higher_is_better is not None]
    if not directed:
        names = ", ".join(metric.name for metric in metrics)
        raise ConfigError(f"metrics: {names} cannot tell which epoch is best; add one that is better higher or lower")
    best = next((metric for metric in directed if metric.name == preferred), directed[0])
    return best.name, "max" if best.higher_is_better else "min"
