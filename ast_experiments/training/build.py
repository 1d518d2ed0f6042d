"""Builds what trains a run from the `recipe`, `hardware` and `method` settings."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from torch import nn

from ast_experiments.core import distributed
from ast_experiments.data.loaders.base import Loader
from ast_experiments.energy.row_cost import RowCost
from ast_experiments.selection.build import budget_of, build_rate_schedule, never_chooses
from ast_experiments.selection.rate_schedule import RateSchedule
from ast_experiments.selection.selector import Selector
from ast_experiments.training.auto_batch import rows_at_once
from ast_experiments.training.average import WeightAverage
from ast_experiments.training.batch_growth import largest_batch
from ast_experiments.training.budget import control_for
from ast_experiments.training.clock import EpochClock, RowClock
from ast_experiments.training.hardware import Hardware, build_hardware
from ast_experiments.training.optim import Schedule, build_optim
from ast_experiments.training.step import Stepper, build_mixer
from ast_experiments.training.target_rate import TargetRate
from ast_experiments.training.timing import time_per_row

LONGEST = 1000
"""Epochs that advice names, at most."""

logger = logging.getLogger(__name__)


def hardware_of(settings: Any) -> Hardware:
    """Chooses device and precision from the `hardware` settings.

    Raises:
        ConfigError: If the device is missing or does not support the precision.
    """
    keys = ("device", "precision", "channels_last", "compile", "deterministic", "threads")
    return build_hardware(**{key: getattr(settings, key) for key in keys})


def build_stepper(
    recipe: Any, model: nn.Module, hardware: Hardware, *, classes: int, samples: int
) -> tuple[Stepper, Schedule]:
    """Builds the training step of a network and its learning-rate schedule from the `recipe` settings.

    Args:
        recipe: The `recipe` settings.
        model: The network.
        hardware: Device, precision and compilation.
        classes: Number of classes.
        samples: Number of training samples.
    """
    steps = recipe.epochs * samples / recipe.batch_size
    optimizer, schedule = build_optim(recipe, model)
    stepper = Stepper(
        model,
        optimizer,
        hardware,
        label_smoothing=recipe.label_smoothing,
        clip_grad=recipe.clip_grad,
        average=None if recipe.ema_decay is None else WeightAverage(model, recipe.ema_decay, steps),
        mix=build_mixer(recipe.mixup, recipe.cutmix, classes),
    )
    return stepper, schedule


def build_clock(recipe: Any) -> EpochClock | RowClock:
    """Builds the learning-rate clock that `recipe.clock` names."""
    return RowClock() if recipe.clock == "rows" else EpochClock(recipe.epochs)


def find_rows_at_once(
    recipe: Any, hardware: Any, stepper: Stepper, image_shape: tuple[int, int, int]
) -> tuple[int, int]:
    """Returns the rows of this rank that go through the network at once, in training and in validation.

    Whole batches, the largest of the run, unless `hardware.auto_batch` asks to try how many rows fit on the device.
    """
    rows, eval_rows = largest_batch(recipe) // distributed.size(), recipe.eval_batch_size
    return rows_at_once(stepper, image_shape, rows, eval_rows) if hardware.auto_batch else (rows, eval_rows)


def build_target_rate(
    method: Any,
    recipe: Any,
    class_counts: np.ndarray,
    selector: Selector,
    *,
    stepper: Stepper,
    train: Loader,
    cost: RowCost,
    has_meter: bool,
) -> TargetRate:
    """Builds the target rate from the `method` settings: by a schedule, or on a budget.

    Raises:
        ConfigError: If the budget cannot be measured or met.
    """
    schedule, budget = build_rate_schedule(method, recipe.epochs, class_counts), budget_of(method)
    control = None
    if budget is not None and schedule is not None:
        scores = selector.scored_share(method.rate) > 0
        control = control_for(
            budget,
            schedule,
            epochs=recipe.epochs,
            samples=len(train),
            batch_size=recipe.batch_size,
            flops=cost.flops,
            scored_share=selector.scored_share,
            time_per_row=lambda epoch: time_per_row(stepper, train, recipe.batch_size, epoch, scoring=scores),
            has_meter=has_meter,
            by_epoch=cost.by_epoch,
        )
        logger.info(control.check())
    elif never_chooses(selector.method, schedule, recipe.epochs):
        logger.warning(
            "every sample is trained once before one is chosen, which takes all %d epochs at these rates, so the "
            "choice stays uniform; type %s",
            recipe.epochs,
            _to_choose(schedule, recipe.epochs),
        )
    return TargetRate(schedule, recipe.epochs, control)


def _to_choose(schedule: RateSchedule | None, epochs: int) -> str:
    """Returns the settings with which a third of the epochs or more choose their samples."""
    found = "method.warmup_epochs=1"
    if schedule is None or not isinstance(schedule.schedule, str):
        return found
    for longer in range(epochs + 1, LONGEST):
        if sum(schedule.target(epoch, longer) for epoch in range(2 * longer // 3)) >= 1:
            return f"recipe.epochs={longer} or more, or {found}"
    return found
