"""From a run folder to something that recommends and predicts."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from recgnn.errors import RunError
from recgnn.models.base import Recommender
from recgnn.models.ctr import CTRModel
from recgnn.serving.clicks import TrainedCTR
from recgnn.serving.recommender import TrainedRecommender
from recgnn.training import run_folder as runs

__all__ = ["TrainedCTR", "TrainedRecommender", "build_model", "load", "model_of"]


def load(run: str | Path) -> TrainedRecommender | TrainedCTR:
    """A finished run, ready to use: `load("runs/ngcf-ml-100k/1").recommend(users=[196], k=10)`.

    Both kinds have `recommend`, `similar_items`, `score`, `predict` and `embeddings`; ids are raw ones, and what comes
    back is a DataFrame. Recommenders have `recommend_history` and `fold_in` for users and items whom train lacks;
    models of clicks take them by their features (`predict`).

    Raises:
        RunError: if the folder is no run, or damaged.
    """
    folder = runs.existing_run(run)
    model = model_of(folder)
    return TrainedCTR(folder, model) if isinstance(model, CTRModel) else TrainedRecommender(folder, model)


def model_of(run: Path) -> Recommender | CTRModel:
    """The model of a run's best checkpoint."""
    return build_model(runs.read_checkpoint(runs.best_checkpoint(run)), run)


def build_model(checkpoint: dict, run: Path) -> Recommender | CTRModel:
    """The model that a checkpoint was taken of.

    Raises:
        RunError: if its class is not to be found, or does not fit the weights.
    """
    arguments = dict(checkpoint.get("hyper_parameters", {}))
    path = arguments.pop("_class_path", "")
    arguments.pop("_instantiator", None)
    module, _, name = path.rpartition(".")
    try:
        cls = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise RunError(f"{run}: the model class {path or '(none named)'} cannot be imported: {error}") from error
    if not (isinstance(cls, type) and issubclass(cls, Recommender | CTRModel)):
        raise RunError(f"{run}: {path} is not a recommender")
    model = cls(**arguments)
    try:
        model.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        raise RunError(f"{run}: the checkpoint does not fit {path}: {str(error).splitlines()[0]}") from error
    return model
