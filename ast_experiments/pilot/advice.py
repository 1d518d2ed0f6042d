"""The one command to type after a pilot."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

from ast_experiments.config.compose import load_config
from ast_experiments.config.naming import override_key
from ast_experiments.config.schema import Config
from ast_experiments.core.errors import ConfigError
from ast_experiments.selection.build import rate_schedule_of

CHOOSING, REFERENCE = "ast", "dense"


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


def command(overrides: Sequence[str], config: Config, *, pays: bool) -> str:
    """Returns what to type: the run with `method=ast`, or dense training for as long as the run with AST costs.

    Args:
        overrides: As typed.
        config: That they make.
        pays: Whether choosing will pay.
    """
    if config.method.name == (CHOOSING if pays else REFERENCE):
        return _line(overrides)
    if pays:
        return _line(_without_method(overrides, CHOOSING))
    dense = _without_method(overrides, REFERENCE)
    epochs = max(1, round(dense_epochs(config)))
    shorter = [*(each for each in dense if override_key(each) != "recipe.epochs"), f"recipe.epochs={epochs}"]
    return _line(next(filter(_composes, (shorter, dense)), dense))


def _without_method(overrides: Iterable[str], method: str) -> list[str]:
    """Returns the overrides with another method in place of the typed one and its settings."""
    replaced = ("method", "controller", "significance")
    kept = [each for each in overrides if override_key(each).partition(".")[0] not in replaced]
    return [*kept, f"method={method}"]


def _composes(overrides: Sequence[str]) -> bool:
    try:
        load_config(overrides)
    except ConfigError:
        return False
    return True


def _line(overrides: Sequence[str]) -> str:
    return shlex.join(["ast-train", *overrides])
