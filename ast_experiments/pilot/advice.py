"""The command to type after a pilot, and the study that measures."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ast_experiments.config.compose import load_config
from ast_experiments.config.naming import override_key
from ast_experiments.config.schema import Config
from ast_experiments.core.errors import ConfigError
from ast_experiments.selection.build import rate_schedule_of

CHOOSING, REFERENCE = "ast", "dense"
METHOD_GROUPS = ("method", "controller", "significance")
OF_A_STUDY = ("seed", "group", "sweep", "hydra", "max_steps", "debug")
"""Overrides that `ast-bench` sets itself."""


class Advice(NamedTuple):
    """What to type.

    Attributes:
        command: The run with `method=ast`, or dense training for as long as the run with AST costs.
        epochs: Where the epochs of that dense training come from; empty if they are those of the run.
        study: The study that measures whether choosing pays.
    """

    command: str
    epochs: str
    study: str


def choosing_config(overrides: Sequence[str], config: Config) -> Config:
    """Returns the config of the run of stale AST that the advice is about: the run's own, or with `method=ast`.

    Raises:
        ConfigError: If the settings do not go with `method=ast`.
    """
    return config if config.method.name == CHOOSING else load_config(_without_method(overrides, CHOOSING))


def dense_epochs(config: Config) -> float:
    """Returns the dense epochs that cost as much as a run: the sum of its target rates."""
    schedule, epochs = rate_schedule_of(config.method), config.recipe.epochs
    return epochs if schedule is None else schedule.dense_epochs(epochs)


def advise(overrides: Sequence[str], config: Config, *, pays: bool) -> Advice:
    """Returns what to type.

    Args:
        overrides: As typed.
        config: That they make.
        pays: Whether choosing will pay.
    """
    study = _study(overrides, config)
    if config.method.name == (CHOOSING if pays else REFERENCE):
        return Advice(_train(overrides), "", study)
    if pays:
        return Advice(_train(_without_method(overrides, CHOOSING)), "", study)
    dense, planned, cost = _without_method(overrides, REFERENCE), config.recipe.epochs, dense_epochs(config)
    epochs = max(1, round(cost))
    shorter = [*(each for each in dense if override_key(each) != "recipe.epochs"), f"recipe.epochs={epochs}"]
    if not _composes(shorter):
        return Advice(_train(dense), "", study)
    ours = f"{planned} planned epochs of {config.method.name} at a mean rate of {cost / planned:.3g}"
    return Advice(_train(shorter), f"{ours} cost as much as {epochs} dense" if epochs != planned else "", study)


def _study(overrides: Iterable[str], config: Config) -> str:
    """Returns the command of a study of stale AST, with the settings of AST if the run has it."""
    if config.method.name == CHOOSING:
        kept = [each for each in overrides if override_key(each) != "method"]
    else:
        kept = [each for each in overrides if _group(each) not in METHOD_GROUPS]
    kept = [each for each in kept if _group(each) not in OF_A_STUDY]
    return shlex.join(["ast-bench", *kept, f"methods=[{CHOOSING}]", "seeds=3"])


def _without_method(overrides: Iterable[str], method: str) -> list[str]:
    """Returns the overrides with another method in place of the typed one and its settings."""
    return [*(each for each in overrides if _group(each) not in METHOD_GROUPS), f"method={method}"]


def _group(override: str) -> str:
    return override_key(override).partition(".")[0]


def _composes(overrides: Sequence[str]) -> bool:
    try:
        load_config(overrides)
    except ConfigError:
        return False
    return True


def _train(overrides: Iterable[str]) -> str:
    return shlex.join(["ast-train", *overrides])
