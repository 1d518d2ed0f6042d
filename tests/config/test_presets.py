"""Experiments with another method, model or controller than their own."""

from __future__ import annotations

import os

import pytest

from ast_experiments.config.checks import check
from ast_experiments.config.compose import load_config
from ast_experiments.config.groups import CONF
from ast_experiments.config.preflight import preflight
from ast_experiments.config.presets import adapt_overrides
from ast_experiments.config.schema import CHOICES
from ast_experiments.core.errors import ConfigError
from ast_experiments.selection.find import find

EXPERIMENTS = sorted(file.stem for file in (CONF / "experiment").glob("*.yaml"))
METHODS = sorted(CHOICES["method"])


def test_other_command_lines_stay_as_they_are() -> None:
    for overrides in ([], ["method=dense"], ["experiment=cifar10_published"], ["experiment=nothing", "method=dense"]):
        assert adapt_overrides(overrides) == overrides


def test_what_the_method_has_is_kept() -> None:
    config = load_config(["experiment=cifar10_published", "method=random"])
    assert config.method.rate == 0.1
    assert config.recipe.name == "published_report"


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_takes_every_method(experiment: str) -> None:
    one_epoch = load_config([f"experiment={experiment}"]).recipe.epochs == 1
    # Every third method, another third for the next experiment.
    taken = METHODS if os.environ.get("AST_LONG") else METHODS[EXPERIMENTS.index(experiment) % 3 :: 3]
    for method in taken:
        more = ["holdout=0.1"] * (method == "rho_loss") + ["recipe.epochs=2"] * one_epoch
        if find("method", method).unmixable:
            more += ["recipe.mixup=0", "recipe.cutmix=0"]
        config = load_config([f"experiment={experiment}", f"method={method}", *more])
        assert config.method.name == method
        check(config)


def test_a_controller_takes_only_its_settings() -> None:
    load_config(["experiment=cifar10_published", "controller=pi", "significance=loss"])


def test_what_is_typed_is_still_refused() -> None:
    with pytest.raises(ConfigError, match="packing"):
        load_config(["experiment=cifar10_published", "method=dense", "method.packing=false"])


def test_adapted_overrides_stay_as_they_are() -> None:
    once = adapt_overrides(["experiment=cifar10_published", "method=dense"])
    assert len(once) > 2
    assert adapt_overrides(once) == once


@pytest.mark.parametrize(
    ("listed", "job"),
    [
        (["experiment=cifar10_published", "method=dense,random"], ["experiment=cifar10_published", "method={}"]),
        (["experiment=cifar10_published,cifar10_stale", "method=ast"], ["experiment={}", "method=ast"]),
        (["experiment=cifar10_published", "sweep=methods"], ["experiment=cifar10_published", "method={}"]),
    ],
    ids=str,
)
def test_a_job_of_a_multirun_is_the_run_of_its_overrides(listed: list[str], job: list[str]) -> None:
    sweep = preflight(listed, multirun=True)
    assert sweep is not None
    assert len(sweep.jobs) > 1
    for overrides, config in zip(sweep.jobs, sweep.configs, strict=True):
        chosen = overrides[0] if "{}" in job[0] else next(o for o in overrides if o.startswith("method="))
        single = load_config([part.format(chosen.partition("=")[2]) for part in job])
        assert config == single
