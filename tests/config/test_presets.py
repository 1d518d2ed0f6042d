"""Experiments with another method, model or controller than their own."""

from __future__ import annotations

import pytest

from ast_experiments.config.checks import check
from ast_experiments.config.compose import load_config
from ast_experiments.config.groups import CONF
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
    config = load_config(adapt_overrides(["experiment=cifar10_published", "method=random"]))
    assert config.method.rate == 0.1
    assert config.recipe.name == "published_report"


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_takes_every_method(experiment: str) -> None:
    one_epoch = load_config([f"experiment={experiment}"]).recipe.epochs == 1
    for method in METHODS:
        more = ["holdout=0.1"] * (method == "rho_loss") + ["recipe.epochs=2"] * one_epoch
        if find("method", method).unmixable:
            more += ["recipe.mixup=0", "recipe.cutmix=0"]
        config = load_config(adapt_overrides([f"experiment={experiment}", f"method={method}", *more]))
        assert config.method.name == method
        check(config)


def test_a_controller_takes_only_its_settings() -> None:
    load_config(adapt_overrides(["experiment=cifar10_published", "controller=pi", "significance=loss"]))


def test_what_is_typed_is_still_refused() -> None:
    overrides = adapt_overrides(["experiment=cifar10_published", "method=dense", "method.packing=false"])
    with pytest.raises(ConfigError, match="packing"):
        load_config(overrides)
