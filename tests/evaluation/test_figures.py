"""What the figures show, read back from their artists; and that a file is whole or absent."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.image import imread
from sklearn.metrics import precision_recall_curve, roc_curve

from recgnn.errors import RunError
from recgnn.evaluation import figures

ROWS = [
    {
        "epoch": 0,
        "train/loss": 0.7,
        "val/recall@10": 0.1,
        "val/ndcg@20": 0.05,
        "val/recall@20": 0.2,
    },
    {"epoch": 1, "train/loss": 0.5},
    {"epoch": 1, "val/recall@10": 0.2, "val/ndcg@20": 0.09, "val/recall@20": 0.3},
    {"epoch": 2, "train/loss": float("nan"), "val/ndcg@20": 0.08, "val/recall@20": None},
    {"epoch": 3, "train/loss": 0.4, "val/ndcg@20": torch.tensor(0.07)},
]


def lines(axes) -> dict[str, list[tuple[float, float]]]:
    """The drawn curves of an axes by colour, without the mark of the best epoch."""
    return {
        line.get_color(): list(zip(line.get_xdata(), line.get_ydata(), strict=True))
        for line in axes.lines
        if line.get_color() in (figures.BLUE, figures.ORANGE)
    }


def by_title(figure: Figure) -> dict:
    return {axes.get_title(loc="left"): axes for axes in figure.axes}


def test_learning_curves_show_every_known_value():
    figure = figures.learning_curves(ROWS, "val/ndcg@20", best_epoch=1)
    panels = by_title(figure)
    assert list(panels) == ["loss", "ndcg@20", "recall@20"]  # the monitor first, and only its K
    assert lines(panels["loss"]) == {figures.BLUE: [(0, 0.7), (1, 0.5), (3, 0.4)]}
    [ndcg] = lines(panels["ndcg@20"]).values()
    assert [epoch for epoch, _ in ndcg] == [0, 1, 2, 3]
    assert [value for _, value in ndcg] == pytest.approx([0.05, 0.09, 0.08, 0.07])
    assert lines(panels["recall@20"]) == {figures.BLUE: [(0, 0.2), (1, 0.3)]}
    assert panels["ndcg@20"].get_title(loc="right") == "0.09000"
    for panel in panels.values():
        assert any(list(line.get_xdata()) == [1, 1] for line in panel.lines), (
            "best epoch not marked"
        )
        assert panel is not panels["recall@20"] or panel.get_xlabel() == "epoch"


def test_learning_curves_with_validation_loss_and_another_monitor():
    rows = [
        {"epoch": e, "train/loss": 1 / (e + 1), "val/loss": 1.0, "val/auc": 0.8} for e in range(3)
    ]
    panels = by_title(figures.learning_curves(rows, "val/auc", None))
    assert set(lines(panels["loss"])) == {figures.BLUE, figures.ORANGE}
    assert [t.get_text() for t in panels["loss"].get_legend().get_texts()] == [
        "training",
        "validation",
    ]
    assert list(by_title(figures.learning_curves(rows, "val/loss", 2))) == ["loss", "auc"]


def test_learning_curves_show_four_metrics_at_most():
    rows = [{"epoch": 0, **{f"val/m{i}": float(i) for i in range(9)}}]
    panels = by_title(figures.learning_curves(rows, "val/m7", 0))
    assert list(panels) == ["loss", "m7", "m0", "m1", "m2"]


def test_a_metric_without_a_value_has_no_panel() -> None:
    rows = [{"epoch": 0, "val/auc": 0.5, "val/gauc": value, "val/ece": 0.0} for value in (None, float("nan"))]
    assert list(by_title(figures.learning_curves(rows, "val/auc", 0))) == ["loss", "auc", "ece"]


def points(figure) -> np.ndarray:
    """Points of a figure's own line, the last that was drawn: [n, 2]."""
    return figure.axes[0].lines[-1].get_xydata()


@pytest.mark.parametrize("n", [2, 3000])
def test_curves_are_scikit_learns(n) -> None:
    random = np.random.default_rng(0)
    chances, truth = random.random(n).round(2), np.arange(n) % 2  # with many ties
    curves = figures.binary_curves(chances, truth)
    assert curves.keys() == {"roc", "precision_recall", "calibration"}
    fall_out, recall, _ = roc_curve(truth, chances, drop_intermediate=False)
    np.testing.assert_allclose(points(curves["roc"]), np.c_[fall_out, recall], atol=1e-12)
    precision, recall, _ = precision_recall_curve(truth, chances)
    found = points(curves["precision_recall"])
    expected = np.c_[recall, precision][-2::-1]  # theirs falls from recall 1 and ends in a point of its own
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_points_of_calibration() -> None:
    chances = np.repeat([0.1, 0.4, 0.7], 10)
    labels = np.r_[[1] * 2 + [0] * 8, [1] * 4 + [0] * 6, [1] * 9 + [0]]
    found = points(figures.binary_curves(chances, labels, bins=3)["calibration"])
    np.testing.assert_allclose(found, [(0.1, 0.2), (0.4, 0.4), (0.7, 0.9)], atol=1e-12)


def test_a_run_without_validation_shows_its_loss_alone_and_no_best_epoch() -> None:
    figure = figures.learning_curves([{"epoch": n, "train/loss": 2.0 - n} for n in range(2)], "val/ndcg@20", 1)
    (losses,) = figure.axes
    assert [line.get_xydata().tolist() for line in losses.lines] == [[[0, 2], [1, 1]]]
    assert losses.get_title("right") == ""


@pytest.mark.parametrize("rows", [[], [{"epoch": 0}], [{"epoch": 0, "train/loss": float("inf")}]])
def test_learning_curves_of_nothing(rows, tmp_path):
    figure = figures.learning_curves(rows, "val/ndcg@20", 0)
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert texts == ["nothing logged"]
    figures.save(figure, tmp_path / "empty.png")


def test_group_bars():
    figure = figures.group_bars(
        torch.tensor([0.25, float("nan"), 0.5]),
        torch.tensor([1200, 0, 7]),
        ["1-4", "5", "6-90"],
        xlabel="interactions",
        title="Recall by activity",
        ylabel="recall@20",
    )
    [axes] = figure.axes
    assert [bar.get_height() for bar in axes.patches] == [0.25, 0, 0.5]
    assert [text.get_text() for text in axes.texts] == ["0.250", "–", "0.500"]
    ticks = [tick.get_text() for tick in axes.get_xticklabels()]
    assert ticks == ["1-4\nn = 1,200", "5\nn = 0", "6-90\nn = 7"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("interactions", "recall@20")
    assert axes.get_title(loc="left") == "Recall by activity"
    assert axes.get_ylim()[0] == 0
    figures.group_bars([float("nan")], [0], ["1"], "x", "nothing to show")


def overlap(axes, texts) -> bool:
    """Whether two neighbours of a row of texts cover each other."""
    axes.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in texts]
    return any(one.x1 > other.x0 for one, other in zip(boxes, boxes[1:], strict=False))


def test_many_groups_stay_readable_and_the_figure_narrow():
    """Thirty hours and minutes: the largest 24 in the order given."""
    labels = [f"{n:02d}:30" for n in range(30)]
    figure = figures.group_bars([0.61] * 30, [*range(1000, 1024), *range(6)], labels, "hour", "AUC by hour", "AUC")
    [axes] = figure.axes
    assert figure.get_figwidth() <= 10.5
    ticks = axes.get_xticklabels()
    assert [tick.get_text()[:5] for tick in ticks] == labels[:24] and ticks[3].get_text() == "03:30, n = 1,003"
    assert axes.get_title(loc="right") == "the 24 largest of 30"
    assert not overlap(axes, ticks) and not overlap(axes, axes.texts)


def test_attention_explains_negative_weights():
    for weights, explained in (([-0.3, -0.1], True), ([0.3, 0.7], False)):
        [axes] = figures.attention(["old", "new"], weights, "target").axes
        assert [bar.get_width() for bar in axes.patches] == weights
        assert [tick.get_text() for tick in axes.get_yticklabels()] == ["old", "new"]
        assert ("the sign alone says nothing" in axes.get_xlabel()) == explained


def test_save_is_whole_or_absent(tmp_path, monkeypatch):
    path = tmp_path / "figures" / "curves.png"
    figure = figures.learning_curves(ROWS, "val/ndcg@20", 1)
    assert figures.save(figure, path) == path
    assert imread(path).shape[1] == 10 * figures.DPI
    before = path.read_bytes()

    def broken(self, target, **kwargs):
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", broken)
    with pytest.raises(RunError, match="curves.png.*No space left"):
        figures.save(figure, path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["curves.png"]
