"""Builds a run: calls the builders of the rooms, and composes what they return into a `Trainer`."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ast_experiments.config.resolve import image_settings, scale_batch
from ast_experiments.config.schema import Config
from ast_experiments.core import distributed
from ast_experiments.data import build as data
from ast_experiments.data.dataset import Dataset
from ast_experiments.data.loaders.base import Loader
from ast_experiments.energy.build import build_meter, gpu_facts
from ast_experiments.energy.flops import count_flops, forward_counter
from ast_experiments.energy.ledger import Ledger
from ast_experiments.energy.meter import Meter
from ast_experiments.energy.row_cost import RowCost
from ast_experiments.energy.time_to_accuracy import TimeToAccuracy
from ast_experiments.runs.identity import NOMINAL, config_hash
from ast_experiments.runs.networks import auxiliary_models, build_model, check_score_size, hardware_of, moving_average
from ast_experiments.selection.build import budget_of, build_method, build_rate_schedule, check_rows, never_chooses
from ast_experiments.selection.method import Context, Method
from ast_experiments.selection.selector import Selector
from ast_experiments.tracking import Tracker
from ast_experiments.training.auto_batch import rows_at_once
from ast_experiments.training.budget import control_for
from ast_experiments.training.checkpoint import Checkpointer
from ast_experiments.training.clock import EpochClock, RowClock
from ast_experiments.training.evaluate import Validation
from ast_experiments.training.hardware import Hardware, check_shared, worker_count
from ast_experiments.training.loop import Trainer
from ast_experiments.training.optim import Schedule, build_optim
from ast_experiments.training.step import Scorer, Stepper, build_mixer
from ast_experiments.training.target_rate import TargetRate
from ast_experiments.training.timing import time_per_row

logger = logging.getLogger(__name__)


def settings_of(choice: Any, *without: str) -> dict[str, Any]:
    """Returns the settings of a choice by name, without its own name and those given."""
    fields = dataclasses.asdict(choice)
    return {k: v for k, v in fields.items() if k not in ("name", *without)}


def build_dataset(config: Config) -> Dataset:
    """Loads the data set and checks that the batches of the recipe fit it.

    Raises:
        DataError: If the data is missing or damaged.
        ConfigError: If normalisation, soft labels or batch size do not fit it.
    """
    dataset = data.build_dataset(config.dataset, config.recipe.soft_labels)
    _check_batches(config, len(dataset.train) - round(config.holdout * len(dataset.train)))
    return dataset


def _check_batches(config: Config, samples: int) -> None:
    """Refuses batches that cannot be filled from so many training samples."""
    size = config.recipe.batch_size
    data.check_batch_size(size, samples)
    check_shared(size, distributed.size())
    check_rows(method_of(config), config.method, samples, size)


def method_of(config: Config) -> Method:
    """Builds the method, with its controller and significance if it takes them."""
    return build_method(config.method, config.controller, config.significance)


def build_run(
    config: Config,
    folder: Path,
    make_tracker: Callable[[dict[str, Any]], Tracker],
    dataset: Dataset | None = None,
) -> Trainer:
    """Builds everything that a run consists of. Nothing is written before `make_tracker` is called.

    Args:
        config: Validated and checked.
        folder: The run directory.
        make_tracker: Called with facts about data and hardware once the rest is built.
        dataset: Used in place of the one that the config names.

    Raises:
        UserError: If the run cannot be built, or the directory holds a checkpoint of another run.
    """
    config, hardware = scale_batch(config), hardware_of(config)
    ledger, method = Ledger(hardware.device), method_of(config)
    dataset, held = _split(config, dataset or build_dataset(config), method)
    train, val, held_out = _loaders(config, dataset, held, hardware)
    model = build_model(config, dataset, hardware)
    image_shape, classes = (dataset.image_shape[2], *dataset.image_shape[:2]), len(dataset.classes)
    flops = count_flops(model, image_shape, classes)
    stepper, schedule = _stepper(config, model, hardware, classes)
    check_score_size(config, model, image_shape)
    at_once, eval_batch = _rows_at_once(config, stepper, image_shape)
    # From here on everything is charged: what a method prepares counts as training.
    meter = build_meter(hardware.device, **settings_of(config.energy, "target_accuracy", *NOMINAL))
    meter.start()
    context = _context(config, train, held_out, auxiliary_models(config, dataset, hardware, ledger), hardware)
    selector = Selector(method, context)
    # Dropout starts from the seed, whatever was drawn while building, and draws differently on each rank.
    torch.manual_seed(config.seed + 1 + distributed.rank())
    cost = RowCost(flops, config.energy.active_cost, config.energy.skipped_cost)
    target = _target_rate(config, selector, stepper, train, cost, meter)
    checkpoints = _checkpoints(config, folder, dataset)
    return Trainer(
        hooks=selector,
        target=target,
        stepper=stepper,
        schedule=schedule,
        clock=RowClock() if config.recipe.clock == "rows" else EpochClock(config.recipe.epochs),
        scorer=Scorer(stepper, ledger, forward_counter(model, image_shape, classes, flops)),
        train=train,
        validation=Validation(val, len(dataset.val), eval_batch),
        epochs=config.recipe.epochs,
        ledger=ledger,
        meter=meter,
        goal=TimeToAccuracy(config.energy.target_accuracy),
        tracker=make_tracker(_facts(config, dataset, stepper, at_once)),
        checkpoints=checkpoints,
        cost=cost,
        log_every=config.tracking.log_every,
        averaged=method.averaged,
        eval_every=config.eval_every,
        eval_views=config.eval_views,
        max_steps=config.max_steps,
        profile=folder if config.profile else None,
    )


def _split(config: Config, dataset: Dataset, method: Method) -> tuple[Dataset, Any]:
    """Holds out samples, if the config asks for it, and checks that the rest fills batches."""
    dataset, held = data.hold_out(dataset, config.holdout)
    if config.eval_on == "holdout" and held is not None:
        # What a method trains on is not what it is validated on.
        half = method.needs_holdout
        dataset = dataclasses.replace(dataset, val=held.take(np.arange(half, len(held), 1 + half)))
        held = held.take(np.arange(0, len(held), 2)) if half else held
    _check_batches(config, len(dataset.train))
    logger.info("data: %s", dataset.source)
    return dataset, held


def _checkpoints(config: Config, folder: Path, dataset: Dataset) -> Checkpointer:
    """Returns the checkpoints of a run directory; one of another run is refused."""
    checkpoints = Checkpointer(folder, f"{config_hash(config)}-{dataset.fingerprint}", config.checkpoint_every_s)
    checkpoints.check()
    return checkpoints


def _loaders(config: Config, dataset: Dataset, held: Any, hardware: Hardware) -> tuple[Loader, Loader, Loader | None]:
    """Builds the loaders of training, validation and held-out samples."""
    return data.build_loaders(
        dataset,
        held,
        config.dataset,
        device=hardware.device,
        on_device=config.hardware.data_on_device,
        workers=worker_count(config.hardware.workers, hardware.device.type),
        seed=config.seed,
    )


def _rows_at_once(config: Config, stepper: Stepper, image_shape: tuple[int, int, int]) -> tuple[int, int]:
    """Returns the rows of this rank that go through the network at once, in training and in validation."""
    rows, eval_rows = config.recipe.batch_size // distributed.size(), config.recipe.eval_batch_size
    return rows_at_once(stepper, image_shape, rows, eval_rows) if config.hardware.auto_batch else (rows, eval_rows)


def _context(
    config: Config, train: Loader, held_out: Loader | None, auxiliary_model: Callable[..., Any], hardware: Hardware
) -> Context:
    """Returns what a method knows of the run."""
    return Context(
        samples=len(train),
        batch_size=config.recipe.batch_size,
        epochs=config.recipe.epochs,
        seed=config.seed,
        device=hardware.device,
        fetch=train.fetch,
        auxiliary_model=auxiliary_model,
        held_out=None if held_out is None else held_out.fetch,
        held_out_samples=0 if held_out is None else len(held_out),
        warmup_epochs=config.recipe.warmup_epochs,
    )


def _stepper(config: Config, model: nn.Module, hardware: Hardware, classes: int) -> tuple[Stepper, Schedule]:
    recipe = config.recipe
    optimizer, schedule = build_optim(recipe, model)
    stepper = Stepper(
        model,
        optimizer,
        hardware,
        label_smoothing=recipe.label_smoothing,
        clip_grad=recipe.clip_grad,
        ema=moving_average(model, recipe.ema_decay),
        mix=build_mixer(recipe.mixup, recipe.cutmix, classes),
    )
    return stepper, schedule


def _target_rate(
    config: Config, selector: Selector, stepper: Stepper, train: Loader, cost: RowCost, meter: Meter
) -> TargetRate:
    """Builds the target rate: by a schedule, or on a budget."""
    recipe, samples = config.recipe, len(train)
    schedule, budget = build_rate_schedule(config.method, recipe.epochs), budget_of(config.method)
    control = None
    if budget is not None and schedule is not None:
        scores = selector.scored_share(config.method.rate) > 0
        control = control_for(
            budget,
            schedule,
            epochs=recipe.epochs,
            samples=samples,
            batch_size=recipe.batch_size,
            flops=cost.flops,
            scored_share=selector.scored_share,
            time_per_row=lambda: time_per_row(stepper, train, recipe.batch_size, scoring=scores),
            has_meter=meter.measures,
        )
        logger.info(control.check())
    elif never_chooses(selector.method, schedule, recipe.epochs):
        logger.warning(
            "every sample is trained once before one is chosen, which takes all %d epochs at these rates, so the "
            "choice stays uniform; type recipe.epochs=N with more epochs, or method.warmup_epochs=1",
            recipe.epochs,
        )
    return TargetRate(schedule, recipe.epochs, control)


def _facts(config: Config, dataset: Dataset, stepper: Stepper, at_once: int) -> dict[str, Any]:
    """Returns facts about data, network and hardware for result.json."""
    recipe, hardware = config.recipe, stepper.hardware
    return {
        "hardware": hardware.describe() | gpu_facts(hardware.device),
        "data_source": dataset.source,
        "data_fingerprint": dataset.fingerprint,
        **dataset.facts,
        **({"pictures": made} if (made := image_settings(config)) else {}),
        "train_samples": len(dataset.train),
        "val_samples": len(dataset.val),
        "parameters": sum(p.numel() for p in stepper.model.parameters()),
        "batch": {"rows": recipe.batch_size, "at_once": at_once, "processes": distributed.size(), "lr": recipe.lr},
    }
