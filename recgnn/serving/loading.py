"""From a run folder to something that recommends and predicts."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from recgnn import models
from recgnn.errors import RunError
from recgnn.models.base import Model, Recommender
from recgnn.models.ctr import CTRModel
from recgnn.serving.clicks import TrainedCTR
from recgnn.serving.recommender import TrainedRecommender
from recgnn.training import run_folder as runs

WEIGHTS = "model."  # prefix of the model's weights in a checkpoint
TRAINED = ("task", "l2", "cold_rating")  # attributes of a model that its training sets
OWN = {f"{kind.__module__}.{name}": kind for name in models.__all__ for kind in [getattr(models, name)]}


def load(run: str | Path, trust: bool = False) -> TrainedRecommender | TrainedCTR:
    """Load a finished run, ready to use.

    Both kinds of runs have `recommend`, `similar_items`, `score`, `predict` and `embeddings`. Recommenders have
    `recommend_history` and `fold_in` for users and items that are not in the training data; CTR models take them by
    their features (`predict`).

    Args:
        run: the run folder.
        trust: import the module of a model that is not recgnn's own, which runs its code. Without it such a run loads
            only if that module has been imported already.

    Raises:
        RunError: if the folder is no run, or damaged, or its model is not to be imported.

    >>> import recgnn
    >>> recgnn.load("runs/lightgcn-demo/1")
    LightGCN of synthetic for ranking, 61 users, 40 items, ... interactions; runs/lightgcn-demo/1
    """
    folder = runs.existing_run(run)
    model = model_of(folder, trust)
    if isinstance(model, CTRModel):
        return TrainedCTR(folder, model)
    if isinstance(model, Recommender):
        return TrainedRecommender(folder, model)
    raise RunError(f"{folder}: {type(model).__name__} is neither a recommender nor a CTR model")


def model_of(run: Path, trust: bool = False) -> Model:
    """The model of a run's best checkpoint."""
    return build_model(runs.read_checkpoint(runs.best_checkpoint(run)), run, trust)


def build_model(checkpoint: dict[str, Any], run: Path, trust: bool = False) -> Model:
    """Make the model that a checkpoint holds.

    Raises:
        RunError: if another version wrote it, its class is not found or not to be imported, or does not fit.
    """
    about = checkpoint.get("recgnn")
    if not isinstance(about, dict) or about.get("format") != runs.FORMAT:
        raise RunError(f"{run}: its checkpoint was written by another version of recgnn; train it again")
    kind = model_class(str(about.get("model")), run, trust)
    state = checkpoint["state_dict"]
    weights = {name.removeprefix(WEIGHTS): value for name, value in state.items() if name.startswith(WEIGHTS)}
    try:
        model = kind(**about["arguments"])
        model.load_state_dict(weights)
        for name in TRAINED:
            if name in about["trained"]:
                setattr(model, name, about["trained"][name])
    except (RuntimeError, TypeError, LookupError) as error:
        raise RunError(f"{run}: its checkpoint does not fit {kind.__name__}: {str(error).splitlines()[0]}") from error
    return model


def model_class(path: str, run: Path, trust: bool) -> type[Model]:
    """The class of a dotted path: recgnn's own, or one whose module is imported already or may be.

    A run folder may come from somebody else, and importing a module runs its code.

    Raises:
        RunError: if it may not be imported, or is no model.
    """
    if path in OWN:
        return OWN[path]
    module, _, name = path.rpartition(".")
    if module not in sys.modules and not trust:
        raise RunError(
            f"{run}: its model {path} is not one of recgnn's, and loading it would run code of {module or 'nowhere'}; "
            "if you trust that, import the module first, or use load(run, trust=True) (--trust)"
        )
    try:
        kind = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise RunError(f"{run}: its model {path} cannot be imported: {error}") from error
    if not (isinstance(kind, type) and issubclass(kind, Model)):
        raise RunError(f"{run}: {path} is not a model: it does not extend recgnn.models.base.Model")
    return kind
