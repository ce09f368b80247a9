"""From a run folder to something that recommends and predicts."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from recgnn import models
from recgnn.data.stored import reading
from recgnn.errors import RunError, first_line, one_of
from recgnn.models.base import Model, Recommender
from recgnn.models.ctr import CTRModel
from recgnn.serving.clicks import TrainedCTR
from recgnn.serving.pipeline import Plan, TrainedPipeline
from recgnn.serving.recommender import TrainedRecommender
from recgnn.training import run_folder as runs

WEIGHTS = "model."  # prefix of the model's weights in a checkpoint
TRAINED = ("task", "l2", "cold_rating")  # attributes of a model that its training sets
OWN = {f"{kind.__module__}.{name}": kind for name in models.__all__ for kind in [getattr(models, name)]}


def load(run: str | Path, trust: bool = False) -> TrainedRecommender | TrainedCTR | TrainedPipeline:
    """Load a finished run, ready to use.

    Both kinds of runs have `recommend`, `similar_items`, `score`, `predict` and `embeddings`. Recommenders have
    `recommend_history` and `fold_in` for users and items that are not in the training data; CTR models take them by
    their features (`predict`). A pipeline recommends as its runs do together, and loads them from where they lie.

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
    if (folder / runs.PIPELINE).is_file():
        plan = Plan.read(folder)
        return TrainedPipeline(folder, plan, [load(one, trust) for one in plan.retrievers], load(plan.ranker, trust))
    model = build_model(runs.read_checkpoint(runs.best_checkpoint(folder)), folder, trust)
    if isinstance(model, CTRModel):
        return TrainedCTR(folder, model)
    if isinstance(model, Recommender):
        return TrainedRecommender(folder, model)
    raise RunError(f"{folder}: {type(model).__name__} is neither a recommender nor a CTR model")


def build_model(checkpoint: dict[str, Any], run: Path, trust: bool = False) -> Model:
    """Make the model that a checkpoint of `run` holds; `trust` lets it import a class that is not of recgnn.

    Raises:
        RunError: if another version wrote it, its class is not found or not to be imported, or does not fit.
    """
    path, arguments, trained = runs.about_model(checkpoint, run)
    kind = model_class(path, run, trust)
    with reading(run, f"its checkpoint does not fit {kind.__name__}"):
        state = checkpoint["state_dict"]
        model = kind(**arguments)
        model.load_state_dict({k.removeprefix(WEIGHTS): v for k, v in state.items() if k.startswith(WEIGHTS)})
        for name in TRAINED:
            if (value := trained.get(name)) is not None:
                setattr(model, name, value if name == "task" else float(value))
        one_of("task", model.task, model.tasks)
    return model


def model_class(path: str, run: Path, trust: bool) -> type[Model]:
    """The class of a dotted path: recgnn's own, or one whose module is imported already, or may be (`trust`). `run` is
    for errors.

    Raises:
        RunError: if it may not be imported, or is no model.
    """
    if path in OWN:
        return OWN[path]
    runs.check_class(path, OWN, run, trust)
    module, _, name = path.rpartition(".")
    try:
        kind = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise RunError(f"{run}: its model {path} cannot be imported: {first_line(error)}") from error
    if not (isinstance(kind, type) and issubclass(kind, Model)):
        raise RunError(f"{run}: {path} is not a model: it does not extend recgnn.models.base.Model")
    return kind
