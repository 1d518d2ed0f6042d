"""Builds the selection of a run from its settings, and checks that they go together.

Settings are plain objects: each has the `name` of its choice and one attribute per keyword argument of what is built.
"""

from __future__ import annotations

from functools import partial
from inspect import signature
from typing import Any, Literal

import numpy as np

from ast_experiments.core.errors import ConfigError
from ast_experiments.selection.context import RunSettings
from ast_experiments.selection.control.controller import Controller
from ast_experiments.selection.find import BUILT, find, settings_of
from ast_experiments.selection.method import NO_HOLDOUT, Method
from ast_experiments.selection.rate_schedule import Budget, RateSchedule
from ast_experiments.selection.significance import Significance

BUDGETS: tuple[Literal["samples", "flops", "seconds", "joules"], ...] = ("samples", "flops", "seconds", "joules")
"""What a budget may count."""


def build_controller(controller: Any) -> Controller[Any]:
    """Builds the `controller` settings."""
    target = find("controller", controller.name)
    return target(**_given(target, controller))


def build_significance(significance: Any) -> Significance:
    """Builds the `significance` settings."""
    target = find("significance", significance.name)
    given = _given(target, significance)
    return partial(target, **given) if given else target


def uses(name: str) -> tuple[str, ...]:
    """Returns which of `controller` and `significance` a method takes."""
    parameters = signature(find("method", name)).parameters
    return tuple(group for group in BUILT if group in parameters)


def build_method(method: Any, controller: Any, significance: Any) -> Method:
    """Builds the `method` settings, with controller and significance if the method takes them.

    Raises:
        ConfigError: If the settings of the method contradict each other.
    """
    target, used = find("method", method.name), uses(method.name)
    parts: dict[str, Any] = {}
    if "controller" in used:
        parts["controller"] = build_controller(controller)
    if "significance" in used:
        parts["significance"] = build_significance(significance)
    return target(**parts, **_given(target, method))


def check_method(method: Any, controller: Any, significance: Any, run: RunSettings) -> None:
    """Checks a method against the rest of a run.

    Raises:
        ConfigError: If they do not go together.
    """
    built, name = build_method(method, controller, significance), method.name
    controlled = "controller" in uses(name) and built.uses_controller
    for setting in run.mixing:
        if setting in built.unmixable:
            off = "null" if setting == "soft_labels" else "0"
            raise ConfigError(
                f"recipe.{setting}: does not work with method={name}: {built.unmixable[setting]}; "
                f"type recipe.{setting}={off}"
            )
    if built.needs_holdout and not run.holdout:
        raise ConfigError(f"method={name}: {NO_HOLDOUT}")
    if run.budget and built.trains_every_row:
        raise ConfigError(
            f"method.budget.{run.budget}: method={name} costs the same at every rate, so no rate keeps a budget; "
            "type another method, e.g. method=ast"
        )
    if run.budget and controlled and not build_controller(controller).holds_rate:
        raise ConfigError(
            f"method.budget.{run.budget}: controller={controller.name} does not hold the target rate, so it cannot "
            "keep a budget; type controller=pi, quantile or topk"
        )
    if run.batch_growth and built.looks_at_batches():
        raise ConfigError(
            f"recipe.batch_growth: method={name} chooses from loaded batches, whose size must stay; "
            "type recipe.batch_growth=null, or a method that chooses before loading, e.g. method=ast"
        )
    built.check(run)


def build_rate_schedule(method: Any, epochs: int, class_counts: np.ndarray | None = None) -> RateSchedule | None:
    """Builds the rate schedule of the `method` settings; None for a method without a target rate.

    Args:
        method: The settings.
        epochs: Planned epochs.
        class_counts: Training samples by class, which decide how an `auto` schedule falls; None if they are not known.

    Raises:
        ConfigError: If the schedule does not fit the epochs.
    """
    schedule = rate_schedule_of(method)
    if schedule is None:
        return None
    schedule.check(epochs)
    return schedule if class_counts is None else schedule.for_classes(class_counts)


def rate_schedule_of(method: Any) -> RateSchedule | None:
    """Returns the rate schedule of the `method` settings, unchecked; None for a method without a target rate."""
    if not hasattr(method, "rate"):
        return None
    return RateSchedule(method.rate, method.rate_final, method.rate_schedule, method.warmup_epochs, method.final_epochs)


def budget_of(method: Any) -> Budget | None:
    """Returns the budget of the `method` settings; None without one."""
    given = getattr(method, "budget", None)
    for kind in BUDGETS:
        amount = getattr(given, kind, None)
        if amount is not None:
            return Budget(kind, amount)
    return None


def check_rows(built: Method, method: Any, samples: int, class_counts: np.ndarray, batch_size: int) -> None:
    """Checks that every epoch fills a batch, unless a budget sets the rate.

    Args:
        built: The method.
        method: Its settings.
        samples: Number of training samples.
        class_counts: Samples by class; only their proportions count.
        batch_size: Rows of a batch.

    Raises:
        ConfigError: If the batch is larger than the rows that an epoch trains.
    """
    schedule = rate_schedule_of(method)
    share = built.least_share(1.0 if schedule is None else schedule.for_classes(class_counts).least)
    rows = int(share * samples)
    if budget_of(method) is None and not rows:
        raise ConfigError(f"method.rate: trains none of {samples:,} samples at rate {share:.3g}; type a higher one")
    if budget_of(method) is None and rows < batch_size:
        raise ConfigError(
            f"recipe.batch_size: {batch_size} is more than the {rows} rows that an epoch trains "
            f"at rate {share:.3g}; type recipe.batch_size={max(1, rows // 4)} or so"
        )


def never_chooses(built: Method, schedule: RateSchedule | None, epochs: int) -> bool:
    """Returns whether a run ends before every sample has a score that the method waits for."""
    if schedule is None or not built.waits_for_scores or epochs == 1:
        return False
    return sum(schedule.target(epoch, epochs) for epoch in range(epochs - 1)) < 1


def _given(target: Any, settings: Any) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings_of(target)}
