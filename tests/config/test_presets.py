"""Experiments with another method, model or controller than their own."""

from __future__ import annotations

import pytest

from ast_experiments.config.compose import CONF, check, compose, typed
from ast_experiments.config.presets import fitted
from ast_experiments.config.schema import CHOICES
from ast_experiments.core.errors import ConfigError

EXPERIMENTS = sorted(file.stem for file in (CONF / "experiment").glob("*.yaml"))
METHODS = sorted(CHOICES["method"])


def test_other_command_lines_stay_as_they_are() -> None:
    for overrides in ([], ["method=dense"], ["experiment=cifar10_published"], ["experiment=nothing", "method=dense"]):
        assert fitted(overrides, CONF) == overrides


def test_what_the_method_has_is_kept() -> None:
    config = typed(compose(fitted(["experiment=cifar10_published", "method=random"], CONF)))
    assert config.method.rate == 0.1
    assert config.recipe.name == "published_report"


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_takes_every_method(experiment: str) -> None:
    one_epoch = typed(compose([f"experiment={experiment}"])).recipe.epochs == 1
    for method in METHODS:
        more = ["holdout=0.1"] * (method == "rho_loss") + ["recipe.epochs=2"] * one_epoch
        if CHOICES["method"][method].unmixable:
            more += ["recipe.mixup=0", "recipe.cutmix=0"]
        config = typed(compose(fitted([f"experiment={experiment}", f"method={method}", *more], CONF)))
        assert config.method.name == method
        check(config)


def test_a_controller_takes_only_its_settings() -> None:
    typed(compose(fitted(["experiment=cifar10_published", "controller=pi", "significance=loss"], CONF)))


def test_what_is_typed_is_still_refused() -> None:
    overrides = fitted(["experiment=cifar10_published", "method=dense", "method.scoring=stale"], CONF)
    with pytest.raises(ConfigError, match="scoring"):
        typed(compose(overrides))
