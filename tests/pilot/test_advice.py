"""The command that the advice ends with is one that runs."""

from __future__ import annotations

import shlex

import pytest

from ast_experiments.cli.bench import planned
from ast_experiments.config.compose import load_config
from ast_experiments.experiments.study.arms import RESERVED, arm_config
from ast_experiments.pilot.advice import OF_A_STUDY, advise, choosing_config, dense_epochs

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
    words = shlex.split(advise(typed, load_config(typed), pays=pays).command)
    assert words == ["ast-train", *expected]
    assert load_config(words[1:]).method.name == ("ast" if pays else "dense")


def test_a_warm_up_that_leaves_no_room_keeps_the_epochs():
    typed = ["method.rate=0.1", "recipe.epochs=6", "recipe.warmup_epochs=3"]
    advice = advise(typed, load_config(typed), pays=False)
    assert shlex.split(advice.command) == ["ast-train", "recipe.epochs=6", "recipe.warmup_epochs=3", "method=dense"]
    assert advice.epochs == ""


@pytest.mark.parametrize(
    ("typed", "pays", "origin"),
    [
        ((), False, "30 planned epochs of ast at a mean rate of 0.4 cost as much as 12 dense"),
        (SPEEDRUN, False, "10 planned epochs of ast at a mean rate of 0.6 cost as much as 6 dense"),
        ((), True, ""),
        (("method=dense",), False, ""),
        (("method=infobatch",), False, ""),
    ],
)
def test_where_the_epochs_come_from(typed, pays, origin):
    assert advise(typed, load_config(typed), pays=pays).epochs == origin


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ((), []),
        (("seed=3", "tags=[a]", "max_steps=9"), ["tags=[a]"]),
        (("method=ast", "method.rate=0.5", "controller=topk"), ["method.rate=0.5", "controller=topk"]),
        (("method=infobatch", "method.drop=0.4", "recipe.epochs=8"), ["recipe.epochs=8"]),
        (("experiment=cifar10_speedrun_dense",), ["experiment=cifar10_speedrun_dense"]),
    ],
)
def test_the_study_is_one_that_ast_bench_accepts(typed, kept, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    program, *words = shlex.split(advise(typed, load_config(typed), pays=False).study)
    assert (program, words) == ("ast-bench", [*kept, "methods=[ast]", "seeds=3"])
    study = planned(words)[0].study
    assert [arm_config(study.common, arm).method.name for arm in study.arms] == ["dense", "ast"]


def test_a_study_sets_the_same_itself():
    assert {*OF_A_STUDY, "method"} == set(RESERVED)


def test_the_cost_of_a_run_in_dense_epochs():
    assert dense_epochs(load_config(SPEEDRUN)) == pytest.approx(6.0)
    dense = ["experiment=cifar10_speedrun_dense"]
    assert dense_epochs(load_config(dense)) == 8
    assert dense_epochs(choosing_config(dense, load_config(dense))) == pytest.approx(3.2)
