"""Every key that a run logs to W&B: its meaning, the models that have it, and when it is logged."""

from __future__ import annotations

import re
from typing import NamedTuple

from recgnn.evaluation.metrics.names import METRICS


def _texts(task: str, suffix: str = "") -> dict[str, str]:
    """The metrics of a task by name, each with the start of its docstring."""
    texts = {name: re.split(r"[:;(,.]", metric.__doc__ or "", maxsplit=1)[0] for name, metric in METRICS[task].items()}
    return {name + suffix: " ".join(text.split()) for name, text in texts.items()}


RANKING, ERRORS, CLICKS = _texts("ranking", "@<k>"), _texts("rating"), _texts("clicks")
OF_FAMILY = {"ranking": RANKING, "rating": ERRORS, "clicks": CLICKS, "sequence": CLICKS, "regression": ERRORS}
FAMILIES = {  # the tasks, and clicks with histories beside the other clicks
    "ranking": "ranking (MF, GCN, NGCF, LightGCN, DAE, CDAE)",
    "rating": "ratings (AutoRec, MF with RatingTraining)",
    "clicks": "clicks (LR to DCNv2)",
    "sequence": "clicks with histories (DIN, BST)",
    "regression": "numbers (RegressionTraining)",
}
ALL = tuple(FAMILIES)
EPOCH, END = "every epoch", "once, at the end"
CLICK_FAMILIES = ("clicks", "sequence")


class Key(NamedTuple):
    """A key that is logged to W&B.

    Args:
        name: its name, in which `<k>` is a list length, `<n>` a number and `<field>` a field's name.
        kind: `curve`, `figure`, `table`, `summary` (one value of the whole run) or `config`.
        families: the models that always have it; none if it depends on more than the model.
        what: its meaning.
        when: when it is logged.
    """

    name: str
    kind: str
    families: tuple[str, ...]
    what: str
    when: str

    def matches(self, name: str) -> bool:
        """Whether a logged name is this key."""
        pattern = re.escape(self.name)
        for place, values in (("<k>", r"\d+"), ("<n>", r"\d+"), ("<field>", ".+")):
            pattern = pattern.replace(re.escape(place), values)
        return re.fullmatch(pattern, name) is not None


PARTS = {  # of the metrics: kind, where they are measured, when they are logged
    "val": ("curve", "on the validation part", EPOCH),
    "test": ("curve", "on the test part, by the best checkpoint", END),
    "best": ("summary", "on the validation part, in the best epoch", END),
}


def _metrics() -> list[Key]:
    found = [(name, text) for names in (RANKING, ERRORS, CLICKS) for name, text in names.items()]
    return [
        Key(f"{part}/{name}", kind, tuple(f for f in ALL if name in OF_FAMILY[f]), f"{text}; {where}", when)
        for name, text in found
        for part, (kind, where, when) in PARTS.items()
    ]


KEYS = [
    Key("trainer/global_step", "curve", ALL, "steps of the optimizer; the x-axis of every curve", "always"),
    Key("epoch", "curve", ALL, "epochs, counted from 0", "always"),
    Key("train/loss_step", "curve", ALL, "loss of a batch", "every `log_every_n_steps` steps (10)"),
    Key("train/loss_epoch", "curve", ALL, "mean loss of the epoch's batches", EPOCH),
    Key("lr", "curve", ALL, "learning rate", EPOCH),
    Key("lr/<n>", "curve", (), "learning rate of the n-th optimizer, where a model has several", EPOCH),
    Key("time/epoch_seconds", "curve", ALL, "seconds of training, evaluation not included", EPOCH),
    *_metrics(),
    Key("best/epoch", "summary", ALL, "the epoch of the best checkpoint", END),
    Key("time/seconds", "summary", ALL, "seconds in all, evaluation included", END),
    Key("time/median_epoch_seconds", "summary", ALL, "median of `time/epoch_seconds`", END),
    Key("figures/learning_curves", "figure", ALL, "loss and validation metrics by epoch", END),
    Key("figures/recall_by_activity", "figure", ("ranking",), "recall by the user's interactions in train", END),
    Key("figures/recall_by_popularity", "figure", ("ranking",), "recall by the item's interactions in train", END),
    Key("figures/rmse_by_activity", "figure", ("rating",), "RMSE by the user's ratings in train", END),
    Key("figures/rmse_by_popularity", "figure", ("rating",), "RMSE by the item's ratings in train", END),
    Key("figures/predicted_by_rating", "figure", ("rating",), "mean predicted rating, by rating", END),
    Key("figures/roc", "figure", CLICK_FAMILIES, "true by false positive rate", END),
    Key("figures/precision_recall", "figure", CLICK_FAMILIES, "precision by recall", END),
    Key("figures/calibration", "figure", CLICK_FAMILIES, "share of positives by predicted probability", END),
    Key("figures/auc_by_<field>", "figure", (), "AUC by the values of a field (`report_by`), where there is one", END),
    Key("figures/attention", "figure", ("sequence",), "how much each past item counts for a target", END),
    Key("figures/predicted_by_label", "figure", ("regression",), "mean prediction, by label", END),
    Key("recommendations", "table", ("ranking",), "20 users: history, recommended items, hits", END),
    Key("ratings", "table", ("rating",), "20 pairs: rating and prediction", END),
    Key("attention", "table", ("sequence",), "20 positive events: past items and their weights", END),
    Key("model_name", "config", ALL, "class of the model", "at the start"),
    Key("data_name", "config", ALL, "name of the data", "at the start"),
    Key("task", "config", ALL, "ranking, rating, clicks or regression", "at the start"),
    Key("parameters", "config", ALL, "number of parameters", "at the start"),
    Key("data_statistics", "config", ALL, "rows, users, items, split and more of the data", "at the start"),
]


def documented(name: str, kind: str | None = None) -> Key | None:
    """Return the key of a logged name, of a given kind if there is one; None if it is not documented."""
    return next((key for key in KEYS if kind in (None, key.kind) and key.matches(name)), None)


def markdown() -> str:
    """Write all keys as a Markdown table; those of a metric, which differ by the part alone, in one row."""
    rows = [f"- `{part}/…`: metrics {where}; {when}, a {kind}" for part, (kind, where, when) in PARTS.items()]
    rows += ["", "| key | what | models | when |", "|---|---|---|---|"]
    for key in KEYS:
        part, _, name = key.name.partition("/")
        models = "all" if key.families == ALL else ", ".join(key.families) or "some"
        if part not in PARTS or name == "epoch":
            rows.append(f"| `{key.name}` | {key.kind}: {key.what} | {models} | {key.when} |")
        elif part == "val":
            names = ", ".join(f"`{part}/{name}`" for part in PARTS)
            rows.append(f"| {names} | metric: {key.what.partition(';')[0]} | {models} | see above |")
    rows += ["", *(f"- {family}: {text}" for family, text in FAMILIES.items())]
    return "\n".join(rows) + "\n"
