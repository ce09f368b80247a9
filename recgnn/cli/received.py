"""A run folder's configuration, of which only settings of recgnn's own classes are taken: it may be somebody else's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from recgnn.cli.classes import PLACES, classes_at, path_of
from recgnn.cli.options import option
from recgnn.data.stored import read_json, read_yaml, reading, verify
from recgnn.models.base import SIZES
from recgnn.serving.loading import model_class
from recgnn.training.run_folder import about_model, check_class

OF_TRAINER = ("accelerator", "precision", "enable_progress_bar")  # neither paths nor classes
NOT_READ = ("source", "filters", "split", "cache_dir", "prepared")  # the run's prepared data stand for them
MODULES = {"interactions": "GraphDataModule", "events": "CTRDataModule"}


def settings_of(run: Path, checkpoint: dict[str, Any], trust: bool) -> list[str]:
    """Return the options that measure a run: its model, its prepared data, and how it was measured in training.

    Args:
        run: The run folder.
        checkpoint: One of its checkpoints, which tells class and arguments of the model.
        trust: Whether modules that the folder names may be imported, which runs their code.

    Raises:
        RecGNNError: If the configuration cannot be read, or names a class that is not to be imported.
    """
    name, arguments, _ = about_model(checkpoint, run)
    kind = model_class(name, run, trust)
    config, results = read_yaml(run / "config.yaml"), run / "metrics.json"
    if results.is_file():
        files = read_json(results).get("files", {})
        verify(run, files, [name for name in files if name == "config.yaml"])
    with reading(run / "config.yaml", "is no configuration of a run"):
        data, training = (as_class(config.get(section)) for section in ("data", "training"))
        path, given = data["class_path"] or MODULES[kind.reads], data["init_args"]
        plain = {k: v for k, v in given.items() if not isinstance(v, dict | list) and k not in NOT_READ}
        own = {"class_path": path, "init_args": plain | {"prepared": str(run / "vocabulary")}}
        options = {"seed_everything": int(config.get("seed_everything") or 0), "data": checked("data", own, run, trust)}
        own = {"class_path": name, "init_args": {k: v for k, v in arguments.items() if k not in SIZES}}
        options |= {"model": own}
        if training["class_path"]:
            options |= {"training": checked("training", training, run, trust)}
        trainer = config.get("trainer") or {}
        for key in OF_TRAINER:
            if re.fullmatch(r"[\w-]+", str(value := trainer.get(key))) and value is not None:
                options |= {f"trainer.{key}": value}
        return [option(key, value) for key, value in options.items()]


def as_class(given: Any) -> dict[str, Any]:
    """Bring a class in a configuration, perhaps its path alone, to one form."""
    given = given if isinstance(given, dict) else {"class_path": given}
    return {"class_path": given.get("class_path"), "init_args": given.get("init_args") or {}}


def checked(place: str, value: Any, run: Path, trust: bool) -> Any:
    """Return a value of the configuration, all classes of which may be imported.

    Args:
        place: Where it stands, a key of `PLACES` where classes are meant.
        value: The value.
        run: The run folder.
        trust: Whether any class may be.

    Raises:
        RunError: Names the class that may not.
    """
    if isinstance(value, list):
        return [checked(place, one, run, trust) for one in value]
    own = {path_of(cls) for cls in classes_at(place).values()} if place in PLACES else set()
    if isinstance(value, dict):
        found = as_class(value)
        path = str(found["class_path"])
        if "." in path or place not in PLACES:
            check_class(path, own, run, trust)
        inner = {k: checked(f"{place}.{k}", v, run, trust) for k, v in found["init_args"].items()}
        return {"class_path": path, "init_args": inner}
    if isinstance(value, str) and "." in value and place in PLACES:
        check_class(value, own, run, trust)
    return value
