"""The search spaces of conf/sweeps: as W&B's agent would use them, and as the local search does."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from recgnn.cli.fitting import configuration
from recgnn.search.space import MISSING, read_space
from recgnn.search.trial_training import value_of

CONF = Path(__file__).parents[1] / "conf"
SWEEPS = sorted((CONF / "sweeps").glob("*.yaml"))
NAMES = [path.stem for path in SWEEPS]


def test_every_family_has_one():
    assert {"ngcf", "lightgcn", "mf", "cdae", "autorec", "deepfm", "din"} <= set(NAMES)


@pytest.mark.parametrize("path", SWEEPS, ids=NAMES)
def test_wandb_takes_it(path):
    """By the schema of W&B's own engine, which needs an old NumPy: pip install --no-deps sweeps jsonref."""
    config = pytest.importorskip("sweeps.config", reason="W&B's engine is not installed", exc_type=ImportError)
    assert config.schema_violations_from_proposed_config(yaml.safe_load(path.read_text())) == []


@pytest.mark.parametrize("path", SWEEPS, ids=NAMES)
def test_the_command_is_a_training_without_test(path):
    content = yaml.safe_load(path.read_text())
    command = content["command"]
    assert command[:4] == ["${env}", "${interpreter}", "-m", "recgnn.fit"] and command[-1] == "${args}"
    assert command[4:-1] == ["--config", f"conf/{path.stem}.yaml", "--trainer.limit_test_batches=0"]
    assert (CONF.parent / content["program"]).is_file() and (CONF / f"{path.stem}.yaml").is_file()
    head = path.read_text().partition("\n\n")[0]
    assert f"recgnn.tune --config conf/{path.stem}.yaml --space conf/sweeps/{path.stem}.yaml" in head
    assert f"wandb sweep conf/sweeps/{path.stem}.yaml" in head


@pytest.mark.long  # the agent's code is a large import; the search tests that fit takes the values of spaces, too
@pytest.mark.parametrize("path", SWEEPS, ids=NAMES)
def test_fit_takes_every_value_as_wandbs_agent_writes_it(path):
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

    space = read_space(path)
    base = [f"--config={CONF / path.name}"]
    for number in range(max(len(p.examples()) for p in space.parameters)):
        values = {p.name: p.examples()[number % len(p.examples())] for p in space.parameters}
        arguments = create_sweep_command_args({"args": {k: {"value": v} for k, v in values.items()}})["args"]
        parsed = yaml.safe_load(configuration([*base, *arguments]))
        found = {name: value_of(parsed, name) for name in values}  # a class has its default arguments beside its name
        found = {k: v["class_path"].rpartition(".")[2] if isinstance(v, dict) else v for k, v in found.items()}
        assert found == values


@pytest.mark.parametrize("path", SWEEPS, ids=NAMES)
def test_it_holds_the_shipped_values_and_watches_what_they_are_chosen_by(path):
    space, shipped = read_space(path), yaml.safe_load(configuration([f"--config={CONF / path.name}"]))
    assert [p.name for p in space.parameters if p.stored(value_of(shipped, p.name)) is MISSING] == []
    early = next(c for c in shipped["trainer"]["callbacks"] if c["class_path"].endswith("EarlyStopping"))
    assert space.metric == early["init_args"]["monitor"]
    assert space.goal == {"max": "maximize", "min": "minimize"}[early["init_args"]["mode"]]
