"""The W&B workspace of a project, built from the keys that runs log."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from recgnn.errors import ConfigError, RunError
from recgnn.training.wandb_keys import CLICKS, ERRORS, KEYS, RANKING

GROUPING = ("model_name", "data_name")  # of the configuration: by what runs are grouped
NAME, PROJECT, KS = "recgnn", "recgnn", (10, 20)
FAMILIES = {"ranking": RANKING, "ratings and numbers": ERRORS, "clicks": CLICKS}
MAX_RUNS = 50


def _packages():
    try:
        from wandb_workspaces import expr, workspaces
        from wandb_workspaces.reports import v2 as panels
    except ImportError as error:
        raise ConfigError('dashboards need wandb-workspaces: pip install "recgnn[dashboard]"') from error
    return workspaces, panels, expr


def workspace(
    entity: str, project: str = PROJECT, name: str = NAME, ks: Sequence[int] = KS, fields: Sequence[str] = ()
):
    """Build the workspace that `save` sends to W&B, without a network.

    Args:
        entity: user or team.
        project: its project.
        name: its name.
        ks: list lengths whose metrics are shown.
        fields: fields whose figure of AUC is shown.

    Raises:
        ConfigError: If wandb-workspaces is not installed.
    """
    ws, _, expr = _packages()
    parts = sections(ks, fields)
    for section in parts:
        for place, panel in enumerate(section.panels):  # instead of random ids: equal workspaces have equal texts
            panel._id = hashlib.sha256(f"{section.name}/{place}".encode()).hexdigest()[:12]
    shown = ["best/epoch", "time/seconds", *headline(ks)]
    columns = [f"config:{key}.value" for key in GROUPING] + ["config:data_statistics.value.train"]
    columns += [f"summary:{key}" for key in shown]
    grouping = [expr.Config(key) for key in GROUPING]
    view = ws.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=parts,
        settings=ws.WorkspaceSettings(max_runs=MAX_RUNS),
        runset_settings=ws.RunsetSettings(groupby=grouping, pinned_columns=columns),
    )
    view._internal_runset_id = NAME
    return view


def sections(ks: Sequence[int], fields: Sequence[str]) -> list:
    """Return the sections: training, validation and test by family, figures, tables, data and cost.

    Each key of `wandb_keys` has a panel. Grouped runs are drawn as their mean and spread.
    """
    ws, wr, _ = _packages()

    def curve(y: str, x: str = "epoch"):
        return wr.LinePlot(title=y, x=x, y=[y], max_runs_to_show=MAX_RUNS, groupby_aggfunc="mean",
                           groupby_rangefunc="minmax")  # fmt: skip

    def bars(name: str):
        return wr.BarPlot(title=name, metrics=[name], max_runs_to_show=MAX_RUNS, groupby_aggfunc="mean",
                          groupby_rangefunc="stddev")  # fmt: skip

    def scatter(x: str, axis, y: str):
        return wr.ScatterPlot(title=f"{y} by {x}", x=axis(x), y=wr.SummaryMetric(y), log_x=True)

    training = [curve(name) for name in ("train/loss_epoch", "lr", "time/epoch_seconds")]
    training.insert(1, curve("train/loss_step", "trainer/global_step"))
    figures = [key.name for key in KEYS if key.kind == "figure" and "<" not in key.name]
    figures += [f"figures/auc_by_{field}" for field in fields]
    tables = [wr.WeavePanelSummaryTable(table_name=key.name) for key in KEYS if key.kind == "table"]
    costs = (("time/seconds", wr.SummaryMetric), ("parameters", wr.Config))
    data = [wr.RunComparer(diff_only="split"), *(scatter(x, axis, y) for y in headline(ks) for x, axis in costs)]

    found = [ws.Section(name="Training", panels=training)]
    for part, title, panel in (("val", "Validation", curve), ("test", "Test", bars)):
        for family, names in FAMILIES.items():
            panels = [panel(name) for name in measured(part, names, ks)]
            found.append(ws.Section(name=f"{title}: {family}", panels=panels))
    found.append(ws.Section(name="Figures", panels=[wr.MediaBrowser(title=x, media_keys=[x]) for x in figures]))
    wide = ws.SectionLayoutSettings(columns=1, rows=1)
    found.append(ws.Section(name="Tables", panels=tables, layout_settings=wide))
    found.append(ws.Section(name="Data and cost", panels=data))
    for section in found:
        section.is_open = True
    return found


def measured(part: str, names: Iterable[str], ks: Sequence[int]) -> list[str]:
    """Return the metrics of a part under their logged names."""
    logged = [f"{part}/{name.replace('<k>', str(k))}" for name in names for k in ks]
    return list(dict.fromkeys(logged))


def headline(ks: Sequence[int]) -> list[str]:
    """Return the main test metric of each family."""
    return [f"test/ndcg@{ks[0]}", "test/rmse", "test/auc"]


def specification(view) -> dict[str, Any]:
    """Return a workspace as W&B receives it."""
    model = view._to_model()
    spec = json.loads(model.spec.model_dump_json(by_alias=True, exclude_none=True))
    return {"project": model.project, "displayName": model.display_name, "spec": spec}


def save(view) -> str:
    """Send a workspace to W&B and return its address.

    Raises:
        ConfigError: If no API key is configured.
        RunError: If W&B refuses it.
    """
    from recgnn.training.wandb_logger import has_key

    if not has_key():
        raise ConfigError(
            "saving a workspace needs a W&B account, and no API key is configured; run `wandb login` or set "
            "WANDB_API_KEY, or write it with --output workspace.json"
        )
    import wandb

    try:
        view.save()
        return view.url
    except (wandb.Error, OSError, ValueError) as error:
        raise RunError(f"W&B did not take the workspace: {' '.join(str(error).split())}") from error
