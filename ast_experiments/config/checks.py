"""Checks of a config that the schema cannot make: what the machine has, and which settings work together.

Each check lives in the package that knows the rule; `CHECKS` lists them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ast_experiments.core.errors import ConfigError

if TYPE_CHECKING:
    from ast_experiments.config.schema import Config


def check(config: Config, remote: bool = False) -> None:
    """Refuses a config that cannot run.

    Args:
        config: Validated.
        remote: Whether it runs on another machine, so that this one's devices do not matter.

    Raises:
        ConfigError: About the first setting that is wrong.
    """
    if not remote:
        _machine(config)
    for each in CHECKS:
        each(config)


def _machine(config: Config) -> None:
    from ast_experiments.training.hardware import check_device, check_precision, check_processes

    hw = config.hardware
    check_precision(check_device(hw.device), hw.precision)
    check_processes(hw.device, hw.processes)


def _batches(config: Config) -> None:
    from ast_experiments.training.hardware import check_shared

    hw = config.hardware
    if isinstance(hw.processes, int) and hw.batch_scale == 1:
        check_shared(config.recipe.batch_size, hw.processes)


def _model(config: Config) -> None:
    from ast_experiments.models.build import check_model

    check_model(config.model)


def _rate(config: Config) -> None:
    from ast_experiments.selection.build import build_rate_schedule

    build_rate_schedule(config.method, config.recipe.epochs)


def _tracking(config: Config) -> None:
    if config.tracking.tensorboard:
        from ast_experiments.tracking.tensorboard import check_installed

        check_installed()


def _method(config: Config) -> None:
    from ast_experiments.selection.build import budget_of, check_method
    from ast_experiments.selection.context import RunSettings

    recipe, budget = config.recipe, budget_of(config.method)
    settings = RunSettings(
        holdout=config.holdout,
        mixing=tuple(name for name in ("mixup", "cutmix", "soft_labels") if getattr(recipe, name)),
        budget=None if budget is None else budget.kind,
        auto_batch=config.hardware.auto_batch,
        batch_growth=recipe.batch_growth is not None,
    )
    check_method(config.method, config.controller, config.significance, settings)


def _validation(config: Config) -> None:
    if config.eval_on == "holdout" and not config.holdout:
        raise ConfigError("eval_on: holdout needs held-out training samples; type holdout=0.1, or eval_on=val")


def _regime(config: Config) -> None:
    dataset = config.dataset
    if config.recipe.soft_labels and (dataset.label_noise or dataset.duplicates or dataset.imbalance > 1):
        raise ConfigError(
            "recipe.soft_labels: replaces the labels that dataset.label_noise, duplicates and imbalance change; "
            "type recipe.soft_labels=null, or leave those out"
        )


def _auxiliary_model(config: Config) -> None:
    if getattr(config.method, "proxy_arch", None):
        from ast_experiments.models.timm import check_arch

        problem = check_arch(config.method.proxy_arch)
        if problem:
            raise ConfigError(f"method.proxy_arch: {problem}")


CHECKS: tuple[Callable[[Config], None], ...] = (
    _batches, _rate, _tracking, _validation, _regime, _method, _auxiliary_model, _model,
)  # fmt: skip
"""In the order in which they are made."""
