"""Training that starts from another run: everything by id, never by row number."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch

from recgnn import load
from recgnn.cli.entry import main
from recgnn.data.stored import read_json
from recgnn.errors import ConfigError, DataError, RunError
from recgnn.models import (
    BST,
    CDAE,
    DAE,
    DIN,
    FFM,
    FM,
    GCN,
    LR,
    MF,
    NGCF,
    PITF,
    AutoRec,
    DCNv2,
    DeepFM,
    LightGCN,
    Poly2,
    WideDeep,
    XSimGCL,
)
from recgnn.models.base import Recommender
from recgnn.training.clicks import ClickTraining
from recgnn.training.from_run import Parent, move
from recgnn.training.recommenders import RankingTraining, RatingTraining

USERS, ITEMS = torch.tensor([8, 2, 5, 0, 3, 9]), torch.tensor([1, 6, 0, 4, 7])  # where 6 users and 5 items go
VALUES = torch.tensor([0, 1, 4, 2, 6, 7, 9, 8, 11, 12, 13])  # and the values of fields of 4, 4 and 3
OLD_DIMS, NEW_DIMS = [4, 4, 3], [6, 5, 3]
MODELS: list[tuple[type, dict[str, Any]]] = [
    (MF, {"biases": True}), (LightGCN, {"layer_weights": "learned"}), (NGCF, {}), (GCN, {}), (XSimGCL, {}),
    (CDAE, {}), (DAE, {}), (AutoRec, {"by": "user"}), (AutoRec, {"by": "item"}), (PITF, {}),
]  # fmt: skip
CTR: list[tuple[type, dict[str, Any]]] = [
    (LR, {}), (FM, {}), (FFM, {}), (DeepFM, {}), (DCNv2, {}), (Poly2, {}), (DIN, {"item_slots": [1]}),
    (BST, {"item_slots": [1]}), (WideDeep, {"field_names": ["a", "b", "c"], "crosses": [["a", "b"], ["b", "c"]]}),
]  # fmt: skip


def moved(old: Any, new: Any, rows: dict[str, torch.Tensor]) -> Any:
    """Move a training whose optimizer state is its parameters into one of NaN; return that one's optimizer."""
    optimizers = [training.configure_optimizers() for training in (old, new)]
    for parameter in old.parameters():
        parameter.data.normal_(std=0.3)  # scores of a size in which float32 is exact enough
        optimizers[0].state[parameter] = {"step": torch.tensor(7.0), "exp_avg": parameter.detach().clone()}
    for parameter in new.parameters():
        parameter.data.fill_(torch.nan)
    content = {"state_dict": old.state_dict(), "optimizer_states": [optimizers[0].state_dict()]}
    parent = SimpleNamespace(arguments=old.model.arguments, checkpoint=content, given="runs/a")
    assert not move(new, optimizers[1], parent, rows)
    for parameter in new.parameters():
        state = optimizers[1].state[parameter]
        assert state["step"] == 7 and torch.equal(state["exp_avg"], parameter.nan_to_num())
        parameter.data.nan_to_num_(0.3)  # what is new
    return optimizers[1]


@pytest.mark.parametrize(("kind", "options"), MODELS)
def test_scores_of_known_users_and_items_stay(kind: type[Recommender], options: dict[str, Any]) -> None:
    edges = torch.tensor([[0, 1, 2, 3, 4, 5, 0, 2], [0, 1, 2, 3, 4, 0, 3, 1]])
    ratings = torch.tensor([1.0, 2, 3, 4, 5, 1, 2, 3])
    parts = {"part_sizes": [6]} if kind is PITF else {}
    old: Any = kind(num_users=6, num_items=5, **options, **parts)
    new: Any = kind(num_users=10, num_items=8, **options, **({"part_sizes": [10]} if parts else {}))
    training: Any = RankingTraining if "ranking" in old.tasks else RatingTraining
    trainings = [training(model) for model in (old, new)]
    if parts:
        old.set_parts(torch.arange(6)[:, None]), new.set_parts(torch.arange(10)[:, None])
    given = {} if training is RankingTraining else {"ratings": ratings}
    old.set_graph(edges, **given)
    new.set_graph(torch.stack([USERS[edges[0]], ITEMS[edges[1]]]), **given)
    moved(*trainings, {"num_users": USERS, "num_items": ITEMS, "part_sizes": USERS})
    old.eval().refresh(), new.eval().refresh()
    before, after = old.score(torch.arange(6)), new.score(USERS)[:, ITEMS]
    torch.testing.assert_close(after, before)


@pytest.mark.parametrize(("kind", "options"), CTR)
def test_logits_of_known_values_stay(kind: type, options: dict[str, Any]) -> None:
    old, new = kind(OLD_DIMS, **options), kind(NEW_DIMS, **options)
    moved(ClickTraining(old), ClickTraining(new), {"field_dims": VALUES})
    ids = torch.tensor([[a, 4 + b, 8 + c] for a in range(4) for b in range(4) for c in range(3)])
    torch.testing.assert_close(new.eval()(VALUES[ids]), old.eval()(ids))


def test_hashed_crosses_start_anew_and_say_so() -> None:
    trainings = [ClickTraining(Poly2(dims, max_crosses=7)) for dims in (OLD_DIMS, NEW_DIMS)]
    optimizers = [training.configure_optimizers() for training in trainings]
    content = {"state_dict": trainings[0].state_dict(), "optimizer_states": [optimizers[0].state_dict()]}
    parent = SimpleNamespace(arguments=trainings[0].model.arguments, checkpoint=content, given="runs/a")
    (note,) = move(trainings[1], optimizers[1], parent, {"field_dims": VALUES})
    assert note.startswith("crosses.weight starts anew")


def test_the_state_of_row_optimizers_goes_by_id_too() -> None:
    old, new = (ClickTraining(FM(d), l2_on="batch", table_optimizer="rowwise_adagrad") for d in (OLD_DIMS, NEW_DIMS))
    before, after = (training.configure_optimizers() for training in (old, new))
    before.state[old.model.embedding.weight] = {"sum": torch.arange(11.0)}
    content = {"state_dict": old.state_dict(), "optimizer_states": [before.state_dict()]}
    rows = {"field_dims": VALUES.clone()}
    rows["field_dims"][3] = -1  # a value that is not kept
    move(new, after, SimpleNamespace(arguments=old.model.arguments, checkpoint=content, given="a"), rows)
    expected = torch.zeros(14)
    for row, place in enumerate(rows["field_dims"].tolist()):
        if place >= 0:
            expected[place] = row
    assert torch.equal(after.state[new.model.embedding.weight]["sum"], expected)


# ---- the command

DAY = 86_400


def clicks_of(first: int, last: int, more: bool = False) -> pd.DataFrame:
    """A log of 24 users, 40 items and a day for each k; `more`: with new users and items from day 8 on."""
    rows = [(f"u{u}", f"i{(3 * u + 7 * k) % 40}", 1_500_000_000 + DAY * k + u, (u + k) % 2)
            for u in range(24) for k in range(first, last)]  # fmt: skip
    rows += [(f"a{u}", f"{'b' if u % 2 else 'i'}{k}", 1_500_000_000 + DAY * k + 50 + u, u % 2)
             for u in range(4) for k in range(8, last) if more]  # fmt: skip
    return pd.DataFrame(rows, columns=["user", "item", "timestamp", "label"])


def options(log: Path, run: Path, *more: str, kind: str = "MF") -> list[str]:
    data = ["--data=GraphDataModule", "--data.source=TableLog", "--training.ks=[3]"]
    if kind != "MF":
        data = ["--data=CTRDataModule", "--data.source=EventTable", "--data.label=label",
                "--data.fields={user: categorical, item: categorical}"]  # fmt: skip
    return [*data, f"--data.source.path={log}", "--data.split=DailySplit", f"--model={kind}", "--model.embedding_dim=4",
            "--training.lr=0.02", "--trainer.accelerator=cpu", "--trainer.max_epochs=2", "--trainer.logger=false",
            "--trainer.enable_progress_bar=false", f"--run_dir={run}", *more]  # fmt: skip


@pytest.fixture(scope="module", params=["MF", "FM"])
def days(request, tmp_path_factory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    clicks_of(0, 9).to_csv(folder / "first.csv", index=False)
    clicks_of(0, 12, more=True).to_csv(folder / "second.csv", index=False)
    clicks_of(0, 12, more=True).sample(frac=1, random_state=1).to_csv(folder / "shuffled.csv", index=False)
    main("fit", options(folder / "first.csv", folder / "a", kind=request.param))
    main("fit", options(folder / "second.csv", folder / "b", f"--from_run={folder / 'a'}", kind=request.param))
    return request.param, folder


def test_a_log_in_another_order_gives_the_same(days: tuple[str, Path]) -> None:
    kind, folder = days
    main("fit", options(folder / "shuffled.csv", folder / "c", f"--from_run={folder / 'a'}", kind=kind))
    one, other = (load(folder / name).model.state_dict() for name in "bc")
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    own, others = (read_json(folder / name / "metrics.json", sealed=True)["from_run"] for name in "bc")
    for name in ("now", "as_it_was"):
        values = [{k: v or 0 for k, v in of[name]["metrics"].items()} for of in (own, others)]
        assert values[0] == pytest.approx(values[1], rel=1e-6)


def test_the_run_is_an_ordinary_one_and_names_its_parent(days: tuple[str, Path], capsys) -> None:
    kind, folder = days
    run, about = load(folder / "b"), read_json(folder / "b" / "metrics.json", sealed=True)["from_run"]
    assert about["run"] == str(folder / "a") and len(about["sha256"]) == 64
    train = clicks_of(0, 10, more=True)
    new = train[train["timestamp"] >= 1_500_000_000 + 7 * DAY]  # the first run had seven days of train
    if kind == "MF":
        merged = train.drop_duplicates(["user", "item"], keep="last")
        assert about["known_and_new"] == {"users": [24, 4], "items": [40, 2]}
        assert about["trained_on"] == len(merged.index.intersection(new.index))
        assert run.users.ids[:24].tolist() == load(folder / "a").users.ids.tolist()
        assert {group["group"] for group in about["now"]["groups"]["users"]} == {"known", "new"}
    else:
        assert about["known_and_new"]["values"] == [24 + 40 + 4, 6] and about["trained_on"] == len(new)
    assert len(run.recommend(users=["u3", "a1"], k=3)) == 6
    main("test", ["--run", str(folder / "b")])
    if kind == "MF":
        main("export", ["--run", str(folder / "b"), "--format", "embeddings", "--output", str(folder / "vectors")])


@pytest.mark.parametrize(("kind", "name"), [(LightGCN, "score_init"), (NGCF, "normalize"), (CDAE, "bias_init")])
def test_a_run_that_knew_no_such_argument_yet_goes_on_as_it_was(kind: type, name: str) -> None:
    model, data = kind(3, 3, **kind.former), SimpleNamespace(fresh=[0])  # type: ignore[attr-defined]
    arguments = {key: value for key, value in model.arguments.items() if key != name}
    of_then = {"kind": f"{kind.__module__}.{kind.__name__}", "trained": {"task": "ranking"}, "arguments": arguments}
    parent: Any = SimpleNamespace(given="a", **of_then)
    Parent.check(parent, RankingTraining(model), data)
    other = {"score_init": "rates", "normalize": True, "bias_init": "rates"}[name]
    with pytest.raises(RunError, match=f"its {name} is .*, and the configuration's '?{other}"):
        Parent.check(parent, RankingTraining(kind(3, 3, **{name: other})), data)


def test_what_does_not_fit_is_refused(days: tuple[str, Path], tmp_path: Path) -> None:
    kind, folder = days
    start = f"--from_run={folder / 'a'}"
    with pytest.raises(RunError, match="its embedding_dim is 4, and the configuration's 8"):
        main("fit", options(folder / "second.csv", tmp_path / "x", start, "--model.embedding_dim=8", kind=kind))
    other = "FM" if kind == "MF" else "MF"
    with pytest.raises(RunError, match=rf"a: is a run of recgnn.*{kind}, and the configuration's is .*{other}"):
        main("fit", options(folder / "second.csv", tmp_path / "x", start, kind=other))
    with pytest.raises(DataError, match="train has no row that this run was not trained on"):
        main("fit", options(folder / "first.csv", tmp_path / "x", start, kind=kind))
    last = f"--ckpt_path={folder / 'a' / 'checkpoints' / 'last.ckpt'}"
    with pytest.raises(ConfigError, match="both say what training starts from"):
        main("fit", options(folder / "second.csv", tmp_path / "x", start, last, kind=kind))
    with pytest.raises(RunError, match="trained on other"):
        main("fit", options(folder / "second.csv", tmp_path / "x", last, kind=kind))
    if kind == "FM":
        with pytest.raises(ConfigError, match="fields: label2 is|fields: item is multi"):
            fields = "--data.fields={user: categorical, item: multi}"
            main("fit", options(folder / "second.csv", tmp_path / "x", start, fields, kind=kind))
    assert not (tmp_path / "x" / "checkpoints").exists()
