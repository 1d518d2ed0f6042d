"""Checks of a config that the schema cannot make: what the machine has, and which settings work together.

Each check lives in the package that knows the rule; `CHECKS` lists them.
"""

from __future__ import annotations

from collections.abc import Callable

from ast_experiments.config.schema import CHOICES, Config
from ast_experiments.core.errors import ConfigError


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
    if hw.auto_batch and getattr(config.method, "scoring", None) == "masked":
        raise ConfigError(
            "hardware.auto_batch: method.scoring=masked weighs whole batches, which cannot be trained in parts; "
            "type hardware.auto_batch=false and a smaller recipe.batch_size"
        )


def _model(config: Config) -> None:
    from ast_experiments.models.build import check_model

    check_model(config.model)


def _rate(config: Config) -> None:
    from ast_experiments.selection.rate_schedule import check_dense_epochs

    if hasattr(config.method, "rate"):
        check_dense_epochs(config.method.warmup_epochs, config.method.final_epochs, config.recipe.epochs)


def _tracking(config: Config) -> None:
    if config.tracking.tensorboard:
        from ast_experiments.tracking.tensorboard import check_installed

        check_installed()


def _mixing(config: Config) -> None:
    recipe = config.recipe
    given = [name for name in ("mixup", "cutmix", "soft_labels") if getattr(recipe, name)]
    reason = CHOICES["method"][config.method.name].unmixable
    if config.method.name == "ast" and config.method.scoring == "masked" and (recipe.mixup or recipe.cutmix):
        from ast_experiments.selection.methods.ast_fresh import UNMIXABLE

        raise ConfigError(f"recipe.{given[0]}: {UNMIXABLE}")
    if given and reason:
        raise ConfigError(
            f"recipe.{given[0]}: does not work with method={config.method.name}: {reason}; "
            f"type recipe.{given[0]}={'null' if given[0] == 'soft_labels' else '0'}"
        )


def _budget(config: Config) -> None:
    """Refuses budgets that no target rate can keep."""
    from ast_experiments.config.schema.controller import SundewReportConfig

    budget, method = getattr(config.method, "budget", None), config.method
    kind = next((kind for kind, amount in vars(budget).items() if amount is not None), None) if budget else None
    if kind is None or method.name != "ast":
        return
    if method.scoring == "masked":
        raise ConfigError(
            f"method.budget.{kind}: method.scoring=masked costs the same at every rate, so no rate keeps a budget; "
            "type method.scoring=gather or stale"
        )
    if method.pick in (None, "threshold") and isinstance(config.controller, SundewReportConfig):
        raise ConfigError(
            f"method.budget.{kind}: controller={config.controller.name} does not hold the rate that it is given, which "
            "a budget is kept by; type controller=pi, quantile or topk"
        )


def _validation(config: Config) -> None:
    if config.eval_on == "holdout" and not config.holdout:
        raise ConfigError("eval_on: holdout needs held-out training samples; type holdout=0.1, or eval_on=val")


def _side_network(config: Config) -> None:
    if config.method.name == "rho_loss" and not config.holdout:
        from ast_experiments.selection.methods.rho_loss import NONE_HELD_OUT

        raise ConfigError(NONE_HELD_OUT)
    if getattr(config.method, "proxy_arch", None):
        from ast_experiments.models.timm import check_arch

        problem = check_arch(config.method.proxy_arch)
        if problem:
            raise ConfigError(f"method.proxy_arch: {problem}")


CHECKS: tuple[Callable[[Config], None], ...] = (
    _batches, _rate, _tracking, _mixing, _budget, _side_network, _validation, _model,
)  # fmt: skip
"""In the order in which they are made."""
