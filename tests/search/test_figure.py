"""The figure of a search: what it shows, and that its ticks can be read."""

from __future__ import annotations

from pathlib import Path

import pytest

optuna = pytest.importorskip("optuna")

from optuna.trial import FrozenTrial, TrialState, create_trial  # noqa: E402

from recgnn.search.figure import search_figure  # noqa: E402
from recgnn.search.space import Parameter, Space  # noqa: E402

PARAMETERS = (
    Parameter("training.lr", low=3e-4, high=5e-3, log=True),
    Parameter("training.l2", low=1e-5, high=1.0, log=True),
    Parameter("training.temperature", low=0.7, high=1.4, log=True),
    Parameter("model.dim", low=32, high=512, log=True, step=8, whole=True),
    Parameter("model.dropout", low=0.0, high=0.6, step=0.1),
    Parameter("model.hidden_dims", choices=([128, 64], [256, 128, 64], [400, 400, 400])),
)
SPACE = Space(Path("space.yaml"), "bayes", "val/ndcg@10", "maximize", PARAMETERS, {}, None, None)


def trial(number: int, value: float, pruned: bool = False, **values: object) -> FrozenTrial:
    drawn = {p.name: (p.choices or (p.low,))[0] for p in PARAMETERS} | values
    state = TrialState.PRUNED if pruned else TrialState.COMPLETE
    made = create_trial(state=state, value=value, user_attrs={"best_value": value, "values": drawn})
    made.number = number
    return made


@pytest.fixture(scope="module")
def panels() -> dict:
    trials = [trial(0, 0.2), trial(1, 0.1, **{"training.lr": 1e-3}), trial(2, 0.3), trial(3, 0.15, pruned=True)]
    figure = search_figure(SPACE, trials, trials[0])
    figure.canvas.draw()
    return {axes.get_title(loc="left"): axes for axes in figure.axes}


def test_the_best_so_far(panels) -> None:
    [steps] = [line for line in panels["val/ndcg@10"].lines if line.get_label() == "best so far"]
    assert [*zip(*steps.get_data(), strict=True)] == [(0, 0.2), (1, 0.2), (2, 0.3)]


def test_a_panel_a_parameter(panels) -> None:
    assert [*panels][1:] == ["lr", "l2", "temperature", "dim", "dropout", "hidden_dims"]
    complete, pruned = panels["lr"].collections
    assert [*map(tuple, complete.get_offsets())] == [(3e-4, 0.2), (1e-3, 0.1), (3e-4, 0.3)]
    assert [*map(tuple, pruned.get_offsets())] == [(3e-4, 0.15)]


def test_ticks_do_not_overlap(panels) -> None:
    for name, axes in panels.items():
        low, high = axes.get_xlim()
        shown = [text for text in axes.get_xticklabels() if low <= text.get_position()[0] <= high and text.get_text()]
        boxes = sorted((text.get_window_extent().x0, text.get_window_extent().x1) for text in shown)
        assert len(boxes) >= 2, name
        if not shown[0].get_rotation():
            assert all(one[1] < other[0] for one, other in zip(boxes, boxes[1:], strict=False)), name
