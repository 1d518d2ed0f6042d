"""The command that the advice ends with is one that runs."""

from __future__ import annotations

import shlex

import pytest

from ast_experiments.config.compose import load_config
from ast_experiments.pilot.advice import choosing_config, command, dense_epochs

SPEEDRUN = ("experiment=cifar10_speedrun", "dataset.label_noise=0.2")


@pytest.mark.parametrize(
    ("typed", "pays", "expected"),
    [
        (SPEEDRUN, True, [*SPEEDRUN]),
        (SPEEDRUN, False, [*SPEEDRUN, "method=dense", "recipe.epochs=6"]),
        (("experiment=cifar10_speedrun_dense",), False, ["experiment=cifar10_speedrun_dense"]),
        (("experiment=cifar10_speedrun_dense",), True, ["experiment=cifar10_speedrun_dense", "method=ast"]),
        (("method=infobatch", "method.drop=0.4"), True, ["method=ast"]),
        (("method.rate=0.5", "recipe.epochs=8", "controller.kp=3"), False, ["method=dense", "recipe.epochs=4"]),
        ((), False, ["method=dense", "recipe.epochs=12"]),
    ],
)
def test_what_to_type(typed, pays, expected):
    words = shlex.split(command(typed, load_config(typed), pays=pays))
    assert words == ["ast-train", *expected]
    assert load_config(words[1:]).method.name == ("ast" if pays else "dense")


def test_a_warm_up_that_leaves_no_room_keeps_the_epochs():
    typed = ["method.rate=0.1", "recipe.epochs=6", "recipe.warmup_epochs=3"]
    words = shlex.split(command(typed, load_config(typed), pays=False))
    assert words == ["ast-train", "recipe.epochs=6", "recipe.warmup_epochs=3", "method=dense"]


def test_the_cost_of_a_run_in_dense_epochs():
    assert dense_epochs(load_config(SPEEDRUN)) == pytest.approx(6.0)
    dense = ["experiment=cifar10_speedrun_dense"]
    assert dense_epochs(load_config(dense)) == 8
    assert dense_epochs(choosing_config(dense, load_config(dense))) == pytest.approx(3.2)
