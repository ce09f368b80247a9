"""From a run folder to something that recommends and predicts."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from recgnn.errors import RunError
from recgnn.models.base import Model
from recgnn.serving.clicks import TrainedCTR
from recgnn.serving.recommender import TrainedRecommender
from recgnn.training import run_folder as runs

WEIGHTS = "model."  # prefix of the model's weights in a checkpoint


def load(run: str | Path) -> TrainedRecommender | TrainedCTR:
    """Load a finished run, ready to use: `load("runs/ngcf-ml-100k/1").recommend(users=[196], k=10)`.

    Both kinds have `recommend`, `similar_items`, `score`, `predict` and `embeddings`; ids are raw ones, and what comes
    back is a DataFrame. Recommenders have `recommend_history` and `fold_in` for users and items that are not in the
    training data; models of clicks take them by their features (`predict`).

    Raises:
        RunError: if the folder is no run, or damaged.
    """
    folder = runs.existing_run(run)
    model: Any = model_of(folder)
    return TrainedCTR(folder, model) if model.reads == "events" else TrainedRecommender(folder, model)


def model_of(run: Path) -> Model:
    """The model of a run's best checkpoint."""
    return build_model(runs.read_checkpoint(runs.best_checkpoint(run)), run)


def build_model(checkpoint: dict[str, Any], run: Path) -> Model:
    """Make the model that a checkpoint holds.

    Raises:
        RunError: if an older version wrote it, its class is not to be found, or does not fit the weights.
    """
    about = checkpoint.get("recgnn")
    if not isinstance(about, dict) or about.get("format") != runs.FORMAT:
        raise RunError(f"{run}: its checkpoint was written by another version of recgnn; train it again")
    path = about["model"]
    module, _, name = path.rpartition(".")
    try:
        cls = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise RunError(f"{run}: the model class {path or '(none named)'} cannot be imported: {error}") from error
    if not (isinstance(cls, type) and issubclass(cls, Model)):
        raise RunError(f"{run}: {path} is not a model of recgnn")
    model = cls(**about["arguments"])
    for attribute, value in about["trained"].items():
        setattr(model, attribute, value)
    state = checkpoint["state_dict"]
    own = {name.removeprefix(WEIGHTS): value for name, value in state.items() if name.startswith(WEIGHTS)}
    try:
        model.load_state_dict(own)
    except RuntimeError as error:
        raise RunError(f"{run}: the checkpoint does not fit {path}: {str(error).splitlines()[0]}") from error
    return model
