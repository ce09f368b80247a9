"""The options of fit, validate and test before Lightning parses them: YAML files checked, short class names resolved.

What is chosen here (the classes of model and training) decides which parser is built.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from recgnn.cli.classes import (
    PLACES,
    argument_names,
    check_fit,
    class_named,
    classes_at,
    default_training,
    path_of,
    training_arguments,
)
from recgnn.data.interactions.usual_split import UsualSplit
from recgnn.data.stored import YAML, check_bounds
from recgnn.errors import ConfigError
from recgnn.files import configuration
from recgnn.models.base import Model
from recgnn.training.base import Training

TEXT, MAPPING = "tag:yaml.org,2002:str", "tag:yaml.org,2002:map"
MAPPINGS = ("data.fields", "data.history.columns")  # of which a later file's has the place of an earlier one's
OF_LOSSES = ("temperature", "popularity_correction")


class Given(NamedTuple):
    """An argument that is given under `model` or `training`, and where it stands."""

    section: str
    name: str
    where: str


class CommandLine:
    """Options with resolved class names, and the classes that they choose.

    Args:
        argv: The options, as typed.

    Attributes:
        argv: The options for the parser: short class names are dotted paths, and each --config has the file's content.
        model: Class of the model; None if none is given.
        training: Class of the training; the model's default if none is given.
        notes: What a person should know of the files, in lines.
        help: Place (a key of `PLACES`) and name of the class whose options are asked for, if any are.

    Raises:
        ConfigError: For a file that is no YAML, a class that does not exist, or arguments of the wrong section.
    """

    def __init__(self, argv: list[str]):
        self.argv: list[str] = []
        self.classes: dict[str, type] = {}
        self.help: tuple[str, str | None] | None = None
        self.data_task: str | None = None
        self.given: list[Given] = []
        self.tables: dict[str, str] = {}  # where a mapping of names stands
        self.notes: list[str] = []
        words = list(argv)
        while words:
            name, sign, value = words.pop(0).partition("=")
            if name.startswith("-") and not sign and words and not words[0].startswith("--"):
                sign, value = "=", words.pop(0)
            self.argv.append(self._option("--config" if name == "-c" else name, sign, value))
        self._name_split()
        self.model: type[Model] | None = self.classes.get("model")
        named: type[Training] | None = self.classes.get("training")
        self.training = named or default_training(self.model, self.data_task)
        if self.model is not None:
            if named is not None:
                check_fit(named, self.model)
            self._check_sections(self.model, by_model=named is None)

    def _option(self, name: str, sign: str, value: str) -> str:
        """Resolve the classes of an option."""
        place = place_of(name.removeprefix("--").removesuffix("+"))
        check_bounds(value, name)
        if name == "--config" and sign:
            return f"--config={self._file(Path(value))}"
        if (target := place.removesuffix(".help")) in PLACES and target != place:
            self.help = target, value or None
        if place in PLACES and value not in ("", "None"):
            try:
                node = yaml.compose(value, YAML)
            except yaml.YAMLError:
                node = None  # for the parser to refuse
            if node is not None:
                node = self._resolved(node, place, f"--{place}")
                value = node.value if isinstance(node, ScalarNode) else _text(node)
        elif sign:
            self._note(place, value, name)
        return f"{name}{sign}{value}"

    def _name_split(self) -> None:
        """Have options of a split that is not named mean the usual one."""
        names = [(number, word.partition("=")[0]) for number, word in enumerate(self.argv)]
        own = [(n, name) for n, name in names if place_of(name[2:]).startswith("data.split.") and "help" not in name]
        if not own or "data.split" in self.classes:
            return
        for _, name in own:
            if name.rpartition(".")[2] not in argument_names(UsualSplit):
                raise ConfigError(f"{name}: the usual split has no such option; name one that has, as RatioSplit")
        first, name = own[0]
        named = name[: name.index("split") + len("split")]
        by = getattr(self.classes.get("data"), "usual_by", "user")
        self.argv[first:first] = [f"{named}={path_of(UsualSplit)}", f"{named}.by={by}"]

    def _file(self, path: Path) -> str:
        """Return the content of a configuration with its classes resolved."""
        path = configuration(path)
        node = compose(path)
        if not isinstance(node, MappingNode):
            raise ConfigError(f"{path}: is no configuration: expected sections such as `data:` and `model:`")
        return _text(self._resolved(node, "", str(path)))

    def _resolved(self, node: Node, place: str, where: str) -> Node:
        """Resolve the classes of `PLACES` in a YAML node, and note what is chosen."""
        known = PLACES.get(place)
        if isinstance(node, ScalarNode):
            other_name = known is not None and known.named and "." not in node.value
            if known is None or node.tag != TEXT or (other_name and node.value not in classes_at(place)):
                return node
            path = ScalarNode(TEXT, self._class(place, node.value))
            as_class = MappingNode(MAPPING, [(ScalarNode(TEXT, "class_path"), path)], flow_style=True)
            return as_class if known.named else path
        if isinstance(node, SequenceNode) and known is not None:
            node.value[:] = [self._resolved(one, place, where) for one in node.value]
        if isinstance(node, MappingNode):
            for number, (key, value) in enumerate(node.value):
                if known is not None and key.value == "class_path":
                    if isinstance(value, ScalarNode) and value.tag == TEXT:
                        value.value = self._class(place, value.value)
                    continue
                inner = place_of(f"{place}.{key.value}" if place else str(key.value))
                file, number_of_line = where.partition(", line")[0], key.start_mark.line + 1
                line = where if where.startswith("--") else f"{file}, line {number_of_line}"
                self._note(inner, value.value, line)
                node.value[number] = (key, self._resolved(value, inner, line))
        return node

    def _class(self, place: str, name: str) -> str:
        cls = class_named(place, name)
        self.classes[place] = cls
        return path_of(cls)

    def _note(self, place: str, value: object, where: str) -> None:
        """Keep what is needed of a value that is no class."""
        section, _, name = place.partition(".")
        if section in ("model", "training") and name and "." not in name:
            self.given.append(Given(section, name, where))
        if place in MAPPINGS:
            file = where.partition(", line")[0]
            if self.tables.setdefault(place, file) != file:
                self.notes.append(f"{where}: {place} takes the place of that of {self.tables[place]} as a whole")
            self.tables[place] = file
        if place == "data.task":
            self.data_task = str(value)

    def _check_sections(self, model: type[Model], by_model: bool) -> None:
        """Refuse arguments under `model` that belong under `training`, and those of another task's training.

        Args:
            model: Class of the model.
            by_model: Whether the training was chosen by the model, and not by name.
        """
        own, training = argument_names(model), self.training.__name__
        for section, name, where in self.given:
            if section == "training":
                if by_model and name in training_arguments() and name not in argument_names(self.training):
                    raise ConfigError(
                        f"{where}: training.{name} is no option of {training}, which {model.__name__} is trained by; "
                        "leave it out, or choose another class under `training:`"
                    )
                continue
            if name in own:
                continue
            if name in OF_LOSSES:
                raise ConfigError(f"{where}: {name} belongs to the loss, under `training:`: training.loss.{name}")
            if name == "task":
                raise ConfigError(f"{where}: the task is chosen by the class of `training:`, as RatingTraining")
            if name in training_arguments():
                raise ConfigError(f"{where}: {name} belongs under `training:`, not under `model:`: training.{name}")


def place_of(name: str) -> str:
    """Strip a dotted option of all but its place: `data.init_args.split.class_path` becomes `data.split`."""
    return ".".join(part for part in name.split(".") if part not in ("init_args", "class_path"))


def compose(path: Path) -> Node | None:
    """Read a YAML file as nodes; None if it is empty.

    Raises:
        ConfigError: If it is no YAML, beyond any real configuration, or has a key twice; names the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
        check_bounds(text, str(path))
        node = yaml.compose(text, YAML)
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        where = f"{path}, line {mark.line + 1}" if mark else f"{path}"
        raise ConfigError(f"{where}: is no valid YAML: {problem or str(error).splitlines()[0]}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is no text file") from error
    _check_keys(node, path)
    return node


def _check_keys(node: Node | None, path: Path) -> None:
    """Refuse a key that stands twice, of which YAML would take the last."""
    seen = set()
    for item in node.value if isinstance(node, MappingNode | SequenceNode) else []:
        key, value = item if isinstance(item, tuple) else (None, item)
        if isinstance(key, ScalarNode) and key.value != "<<":
            if key.value in seen:
                raise ConfigError(f"{path}, line {key.start_mark.line + 1}: {key.value!r} stands twice")
            seen.add(key.value)
        _check_keys(value, path)


def _text(node: Node) -> str:
    return yaml.serialize(node, Dumper=yaml.SafeDumper, width=10**9).strip()
