"""Space files: what they become for Optuna, and what is refused in them."""

from __future__ import annotations

import pytest

from recgnn.cli.options import option
from recgnn.errors import ConfigError
from recgnn.search.space import MISSING, Parameter, read_space
from recgnn.search.trial_training import value_of

optuna = pytest.importorskip("optuna")
FloatD, IntD, Choice = (
    getattr(optuna.distributions, f"{kind}Distribution") for kind in ("Float", "Int", "Categorical")
)
HEAD = "method: bayes\nmetric: {name: val/ndcg@5, goal: maximize}\n"


@pytest.fixture
def space(tmp_path):
    def read(parameters: str, head: str = HEAD):
        file = tmp_path / "space.yaml"
        file.write_text(f"{head}parameters:\n" + "".join(f"  {line}\n" for line in parameters.splitlines()))
        return read_space(file)

    return read


def drawn(parameter: Parameter, number: int = 300) -> tuple[list, object]:
    """Values that a parameter takes in random trials, and its distribution there."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    values = []
    for _ in range(number):
        trial = study.ask()
        values.append(parameter.suggest(trial))
    return values, trial.distributions[parameter.name]


@pytest.mark.parametrize(
    ("given", "distribution"),
    [
        ("{min: 1, max: 4}", IntD(1, 4)),
        ("{distribution: int_uniform, min: 2, max: 3}", IntD(2, 3)),
        ("{min: 0.0, max: 4}", FloatD(0, 4)),
        ("{distribution: uniform, min: 1, max: 4}", FloatD(1, 4)),
        ("{distribution: log_uniform_values, min: 1.0e-4, max: 1}", FloatD(1e-4, 1, log=True)),
        ("{distribution: q_uniform, min: 0.0, max: 0.6, q: 0.2}", FloatD(0, 0.6, step=0.2)),
        ("{distribution: q_uniform, min: 10, max: 70, q: 16}", IntD(16, 64, step=16)),
        ("{distribution: q_uniform, min: 2, max: 5}", IntD(2, 5)),
        ("{distribution: q_log_uniform_values, min: 8, max: 500, q: 8}", FloatD(8, 496, log=True)),
        ("{values: [bpr, softmax]}", Choice(["bpr", "softmax"])),
        ("{values: [[64], [64, 64]]}", Choice(["[64]", "[64, 64]"])),
        ("{distribution: categorical, values: [1, 0.5, true, null]}", Choice([1, 0.5, True, None])),
    ],
)
def test_what_a_parameter_is_to_optuna(space, given, distribution):
    (parameter,) = space(f"model.x: {given}").parameters
    assert drawn(parameter, 1)[1] == distribution


@pytest.mark.parametrize(
    ("given", "allowed"),
    [
        ("{min: 1, max: 4}", {1, 2, 3, 4}),
        ("{distribution: q_uniform, min: 0.0, max: 0.6, q: 0.2}", {0.0, 0.2, 0.4, 0.6}),
        ("{distribution: q_uniform, min: 0.1, max: 0.3, q: 0.1}", {0.1, 0.2, 0.3}),
        ("{distribution: q_uniform, min: 10, max: 70, q: 16}", {16, 32, 48, 64}),
        ("{distribution: q_log_uniform_values, min: 8, max: 40, q: 8}", {8, 16, 24, 32, 40}),
        ("{values: [[64], [64, 64]]}", [[64], [64, 64]]),
        ("{values: [true, x, 2]}", [True, "x", 2]),
    ],
)
def test_the_values_of_a_discrete_parameter(space, given, allowed):
    (parameter,) = space(f"model.x: {given}").parameters
    values, _ = drawn(parameter)
    assert all(value in allowed and type(value) in map(type, allowed) for value in values)
    assert all(value in values for value in allowed)  # each comes up
    assert all(parameter.stored(value) is not MISSING for value in allowed)
    if not parameter.log:
        assert sorted(map(str, parameter.grid())) == sorted(map(str, allowed))


def test_a_logarithmic_parameter_is_drawn_by_its_logarithm(space):
    (parameter,) = space("training.lr: {distribution: log_uniform_values, min: 1.0e-4, max: 1.0}").parameters
    values, _ = drawn(parameter, 2000)
    below = [sum(value < bound for value in values) / 2000 for bound in (1e-3, 1e-2, 1e-1)]
    assert below == pytest.approx([0.25, 0.5, 0.75], abs=0.04)


@pytest.mark.parametrize(
    ("given", "value", "stored"),
    [
        ("{min: 1, max: 4}", 4, 4),
        ("{min: 1, max: 4}", 5, MISSING),
        ("{min: 1, max: 4}", 2.5, MISSING),
        ("{min: 0, max: 4}", True, MISSING),
        ("{min: 0.0, max: 1.0}", "0.5", MISSING),
        ("{distribution: q_uniform, min: 0.0, max: 0.6, q: 0.05}", 0.3, 0.3),
        ("{distribution: q_uniform, min: 0.0, max: 0.6, q: 0.05}", 0.33, MISSING),
        ("{values: [[64], [64, 64]]}", [64, 64], "[64, 64]"),
        ("{values: [[64], [64, 64]]}", [32], MISSING),
        ("{values: [1, 2]}", 1.0, 1),
        ("{values: [1, 2]}", True, MISSING),
    ],
)
def test_whether_a_value_is_in_the_space(space, given, value, stored):
    (parameter,) = space(f"model.x: {given}").parameters
    assert parameter.stored(value) is stored or parameter.stored(value) == stored != MISSING


def test_the_rest_of_a_file(space):
    found = space(
        "training.lr: {min: 0.1, max: 0.2}\nmodel.loss: {value: bpr}\ntrainer.max_epochs: {value: 3}",
        HEAD.replace("bayes", "random") + "run_cap: 7\nearly_terminate: {type: hyperband, min_iter: 3, eta: 2}\n"
        "program: recgnn/fit.py\nname: mine\nproject: p\n",
    )
    assert (found.method, found.metric, found.goal, found.run_cap) == ("random", "val/ndcg@5", "maximize", 7)
    assert found.constants == {"model.loss": "bpr", "trainer.max_epochs": 3}
    assert found.hyperband == {"min_iter": 3, "eta": 2}
    assert [p.name for p in found.parameters] == ["training.lr"]


def test_a_grid_has_every_combination(space):
    found = space("model.a: {values: [x, y]}\nmodel.b: {min: 1, max: 3}", HEAD.replace("bayes", "grid"))
    combinations = [(c["model.a"], c["model.b"]) for c in found.combinations()]
    assert combinations == [("x", 1), ("x", 2), ("x", 3), ("y", 1), ("y", 2), ("y", 3)]


@pytest.mark.parametrize(
    ("parameters", "head", "said"),
    [
        ("training.lr: {min: 1e-4, max: 1.0}", HEAD, "min is '1e-4', expected a number from -1e15 to 1e15; YAML takes"),
        ("training.lr: {min: 0.2, max: 0.1}", HEAD, "min 0.2 is not less than max 0.1"),
        ("training.lr: {min: 0.2}", HEAD, "uniform needs max"),
        ("training.lr: {distribution: log_uniform_values, min: 0, max: 0.1}", HEAD, "min is 0, expected more than 0"),
        ("training.lr: {distribution: log_uniform, min: -3, max: -1}", HEAD, "distribution is 'log_uniform'"),
        ("training.lr: {distribution: normal, mu: 1}", HEAD, "distribution is 'normal'"),
        ("training.lr: {distribution: unifrm, min: 0, max: 1}", HEAD, "did you mean 'uniform'"),
        ("training.lr: {distribution: int_uniform, min: 0.5, max: 2}", HEAD, "whole bounds, found 0.5 and 2"),
        ("training.lr: {distribution: q_uniform, min: 1, max: 3, q: 2}", HEAD, "no two multiples of q=2"),
        ("training.lr: {distribution: q_uniform, min: 1, max: 3, q: -1}", HEAD, "q is -1"),
        ("training.lr: {mn: 0.2, max: 0.1}", HEAD, "unknown key of training.lr: mn (did you mean 'min'?)"),
        ("training.lr: {values: []}", HEAD, "values is []"),
        ("training.lr: {values: [1, 1]}", HEAD, "stands twice"),
        ("training.lr: {values: [2020-01-01]}", HEAD, "date is not JSON serializable; put texts in quotes"),
        ("training.lr: {min: .nan, max: 1.0}", HEAD, "min is nan, expected a number"),
        ("training.lr: {min: 1, max: .inf}", HEAD, "max is inf, expected a number"),
        (
            "training.lr: {distribution: q_uniform, min: 0, max: 1000000000000, q: 1.0e-9}",
            HEAD.replace("bayes", "grid"),
            "training.lr has no values to count",
        ),
        ("training.lr: 0.1", HEAD, "expected a value, values, or min and max; found 0.1"),
        ("model: {parameters: {lr: {min: 0.1, max: 0.2}}}", HEAD, "write model.lr"),
        ("training.lr: {value: 3}", HEAD, "nothing to search"),
        ("training.lr: {min: 0.1, max: 1.0}", HEAD.replace("bayes", "grid"), "training.lr has no values to count"),
        ("training.lr: {min: 0.1, max: 1.0}", HEAD.replace("bayes", "baye"), "did you mean 'bayes'"),
        ("training.lr: {min: 0.1, max: 1.0}", HEAD.replace("val/", "test/"), "a search goes by a validation metric"),
        ("training.lr: {min: 0.1, max: 1.0}", HEAD.replace("maximize", "maximise"), "did you mean 'maximize'"),
        ("training.lr: {min: 0.1, max: 1.0}", "method: bayes\n", "names no metric"),
        ("training.lr: {min: 0.1, max: 1.0}", HEAD + "metod: x\n", "unknown key: metod (did you mean 'method'?)"),
        ("training.lr: {min: 0.1, max: 1.0}", HEAD + "run_cap: 0\n", "run_cap is 0"),
        ("training.lr: {min: 0.1, max: 1.0}", HEAD + "run_cap: true\n", "run_cap is True; expected a whole number"),
        ("training.lr: {min: 0.1, max: 1.0}", HEAD + "early_terminate: {type: median}\n", "the only type is hyperband"),
        ("training.lr: {min: 0.1, max: 1.0}", HEAD + "early_terminate: {type: hyperband}\n", "needs min_iter or"),
        ("training.lr: {min: 0.1, max: 1.0}", HEAD + "early_terminate: {type: hyperband, max_iter: 9}\n", "needs s"),
        (
            "training.lr: {min: 0.1, max: 1.0}",
            HEAD + "early_terminate: {type: hyperband, min_iter: 2, eta: 1}\n",
            "eta is 1; expected a whole number from 2",
        ),
        ("training.lr: {min: 0.1, max: 1.0", HEAD, "is no valid YAML"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_file(space, parameters, head, said):
    with pytest.raises(ConfigError) as error:
        space(parameters, head)
    assert said in str(error.value) and "space.yaml" in str(error.value) and "\n" not in str(error.value)


def test_a_configuration_is_no_space(tiny, tmp_path):
    with pytest.raises(ConfigError, match="is no search space"):
        read_space(tiny)
    with pytest.raises(ConfigError, match="no such space file"):
        read_space(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.01, "0.01"), ([64, 32], "[64, 32]"), ("bpr", "bpr"), (True, "true"), (None, "null"), (1e-05, "1e-05")],
)
def test_a_value_as_an_option(value, text):
    assert option("model.x", value) == f"--model.x={text}"


def test_a_value_of_a_configuration():
    model = {"class_path": "M", "init_args": {"lr": 0.1}}
    training = {"class_path": "T", "init_args": {"loss": {"class_path": "recgnn.nn.losses.BPR"}}}
    config = {"model": model, "training": training, "trainer": {"max_epochs": 3}, "lr_scheduler": None}
    assert value_of(config, "training.loss") == "BPR"
    assert value_of(config, "model.lr") == value_of(config, "model.init_args.lr") == 0.1
    assert value_of(config, "trainer.max_epochs") == 3
    for name in ("model.absent", "lr_scheduler.init_args.T_max", "absent", "trainer.max_epochs.x"):
        assert value_of(config, name) is MISSING
