"""Search spaces and objectives, as typed."""

from __future__ import annotations

import pytest

from ast_experiments.core.errors import ConfigError, UserError
from ast_experiments.experiments.tuning.objectives import Objective, parse_objectives
from ast_experiments.experiments.tuning.space import (
    Categorical,
    Range,
    check_space,
    parse_space,
    trial_config,
    trial_overrides,
)


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("recipe.lr=1e-4..1e-1:log", Range("recipe.lr", 1e-4, 0.1, log=True)),
        ("method.rate=.1..1", Range("method.rate", 0.1, 1.0)),
        ("recipe.weight_decay=0..1", Range("recipe.weight_decay", 0.0, 1.0)),  # whole ends of a float
        ("recipe.batch_size=16..64:log", Range("recipe.batch_size", 16, 64, log=True)),
        ("significance=loss,loss_entropy", Categorical("significance", ("loss", "loss_entropy"))),
        ("controller.kp=null,1.0", Categorical("controller.kp", ("null", "1.0"))),
    ],
)
def test_dimensions(argument: str, expected: Range | Categorical) -> None:
    searched, common = parse_space(["recipe.epochs=3", argument, "tags=[a,b]", "experiment_name=../x"])
    assert common == ["recipe.epochs=3", "tags=[a,b]", "experiment_name=../x"]
    found = check_space(searched, common)
    assert found == [expected]
    assert [type(end) for end in _ends(found[0])] == [type(end) for end in _ends(expected)]


def _ends(each: Range | Categorical) -> tuple[object, ...]:
    return (each.low, each.high) if isinstance(each, Range) else each.choices


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["experiment=quickstart"], "the search space is empty; type e.g. recipe.lr="),
        (["recipe.lr=1..0.1"], "the low end comes first; type recipe.lr=0.1..1"),
        (["recipe.lr=1..1"], "the low end comes first"),
        (["recipe.lr=0..0.1:log"], "a log range begins above 0; type e.g. recipe.lr=0.0001..0.1:log"),
        (["recipe.lr=low..high"], "expected numbers, recipe.lr=LOW..HIGH"),
        (["recipe.lr=0.1..1:lin"], "expected numbers, recipe.lr=LOW..HIGH"),
        (["recipe.lr=interval(1,2)"], "expected recipe.lr=LOW..HIGH, recipe.lr=LOW..HIGH:log or recipe.lr=A,B,C"),
        (["recipe.lr=0.1..1", "recipe.lr=0.2..1"], "recipe.lr: is given several times"),
        (["method.rate=0.2..0.6", "method.rate=0.3"], "method.rate: is given several times"),
        (["significance=loss,loss_entropy", "significance=loss"], "significance: is given several times"),
        (["recipe.lrr=0.1..1"], "recipe.lrr: no such setting of recipe=small; nearest: lr"),
        (["method.rate=0.1..2"], "method.rate: 2.0 is wrong"),
        (["recipe.batch_size=0.5..3"], "recipe.batch_size: 0.5 is wrong"),
        (["hardware.deterministic=0..1"], "hardware.deterministic: 0 is wrong"),
        (["experiment_name=1..2"], "experiment_name: 1 is wrong"),
        (["controller=pi,quantile", "controller.kp=0.1..1"], "controller.kp: no such setting of controller=quantile"),
        (["method=ast,dense", "method.rate=0.1..1"], "method.rate: no such setting of method=dense"),
        (["seed=0..9"], "seed=0..9: the best seed is luck"),
        (["sweep=pi_gains", "recipe.lr=0.1..1"], "sweep=pi_gains: a search has ranges instead"),
        (["hydra.run.dir=x", "recipe.lr=0.1..1"], "hydra.run.dir=x: a search names its directories itself"),
        (["recipe", "recipe.lr=0.1..1"], "recipe: expected KEY=VALUE"),
    ],
)
def test_wrong_spaces(arguments: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_space(*parse_space(arguments))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_trial_is_the_run_of_its_overrides() -> None:
    common = ["experiment=cifar10_stale", "method=dense"]  # rates of the experiment's own method are left out
    typed = trial_overrides(common, {"recipe.lr": "0.25"})
    assert typed[:3] == [*common, "recipe.lr=0.25"]
    assert trial_config(common, {"recipe.lr": "0.25"}).recipe.lr == 0.25


RESULT = {"status": "finished", "final_accuracy": 90.0, "seconds": {"train": 2, "val": 1.5}, "joules_to_accuracy": None}


@pytest.mark.parametrize(
    ("text", "expected", "figures"),
    [
        ("final_accuracy", (Objective("final_accuracy", "max"),), [90.0]),
        ("final_accuracy:min,seconds.train:min", None, [90.0, 2.0]),
        ("joules_to_accuracy", (Objective("joules_to_accuracy", "min"),), [None]),
    ],
)
def test_objectives(text: str, expected: tuple[Objective, ...] | None, figures: list[float | None]) -> None:
    goals = parse_objectives(text)
    assert expected is None or goals == expected
    assert [goal.value(RESULT) for goal in goals] == figures


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("accuracy", "goal=accuracy: result.json has no such figure; expected one of final_accuracy"),
        ("seconds.train", "type goal=seconds.train:max or goal=seconds.train:min"),
        ("final_accuracy:up", "expected KEY, KEY:max or KEY:min"),
        ("final_accuracy,final_accuracy:max", "names a figure twice"),
        ("", "expected KEY"),
        (
            "control.rms:min",
            "goal=control.rms: .* expected one of control.settling_window",
        ),
    ],
)
def test_wrong_objectives(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_objectives(text)


@pytest.mark.parametrize("key", ["seconds", "control.rms_error"])
def test_objectives_that_results_lack(key: str) -> None:
    with pytest.raises(UserError, match=r"expected one of final_accuracy, seconds.train, seconds.val"):
        Objective(key, "min").value(RESULT)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("final_accuracy", 98.3099, "98.31 %"),
        ("final_val_loss", 0.0226331, "0.022633"),
        ("compute_savings", 0.6, "60.00 %"),
        ("rows_trained", 17120.0, "17,120 rows"),
        ("seconds_to_accuracy", 12.34, "12.3 s"),
        ("joules_to_accuracy", 12345.0, "12.3 kJ"),
        ("flops.train", 65.5e9, "65.5 GFLOP"),
    ],
)
def test_figures_have_units(key: str, value: float, told: str) -> None:
    assert Objective(key, "max").told(value) == told
