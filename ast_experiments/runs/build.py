"""Builds a run: each room builds its part from its own settings; this composes the parts into a `Trainer`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ast_experiments.config.resolve import scale_batch
from ast_experiments.config.schema import Config
from ast_experiments.core import distributed
from ast_experiments.core.batch import Batch
from ast_experiments.data import build as data
from ast_experiments.data.dataset import Dataset
from ast_experiments.data.loaders.base import Loader
from ast_experiments.data.loaders.resized import ResizedLoader
from ast_experiments.data.repeats import repeated_share
from ast_experiments.energy.build import METER_SETTINGS, build_meter
from ast_experiments.energy.flops import FlopsBySize
from ast_experiments.energy.ledger import Ledger
from ast_experiments.energy.row_cost import RowCost
from ast_experiments.energy.time_to_accuracy import TimeToAccuracy
from ast_experiments.runs.identity import config_hash
from ast_experiments.runs.networks import auxiliary_models, build_model
from ast_experiments.runs.result import facts
from ast_experiments.selection.build import build_method, check_rows
from ast_experiments.selection.context import Context
from ast_experiments.selection.method import Method
from ast_experiments.selection.selector import Selector
from ast_experiments.tracking import Tracker
from ast_experiments.training.altered import AlteredRows
from ast_experiments.training.auxiliary_model import AuxiliaryNetwork
from ast_experiments.training.batch_growth import check_growth, growth_by_epoch
from ast_experiments.training.build import (
    build_clock,
    build_stepper,
    build_target_rate,
    find_rows_at_once,
    hardware_of,
)
from ast_experiments.training.checkpoint import Checkpointer
from ast_experiments.training.evaluate import Validation
from ast_experiments.training.hardware import check_shared, worker_count
from ast_experiments.training.image_size import sizes_by_epoch
from ast_experiments.training.loop import Trainer
from ast_experiments.training.samples import SampleTable
from ast_experiments.training.step import Scorer

logger = logging.getLogger(__name__)


def build_dataset(config: Config) -> Dataset:
    """Loads the data set and checks that the batches of the recipe fit it.

    Raises:
        DataError: If the data is missing or damaged.
        ConfigError: If normalisation, soft labels or batch size do not fit it.
    """
    dataset = data.build_dataset(config.dataset, config.recipe.soft_labels)
    _check_batches(config, len(dataset.train) - round(config.holdout * len(dataset.train)), dataset.class_counts)
    return dataset


def _check_batches(config: Config, samples: int, class_counts: np.ndarray) -> None:
    """Refuses batches that cannot be filled from so many training samples."""
    size = config.recipe.batch_size
    data.check_batch_size(size, samples)
    check_growth(config.recipe, samples)
    check_shared(size, distributed.size())
    method = build_method(config.method, config.controller, config.significance)
    check_rows(method, config.method, samples, class_counts, size)


def build_run(
    config: Config, folder: Path, make_tracker: Callable[[dict[str, Any]], Tracker], dataset: Dataset | None = None
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
    config, hardware = scale_batch(config), hardware_of(config.hardware)
    recipe, method = config.recipe, build_method(config.method, config.controller, config.significance)
    dataset, (train, val, held_out), sizes = _load(config, dataset, method, hardware.device)
    model = build_model(config, dataset, hardware, sizes)
    image_shape, counts = (dataset.image_shape[2], *dataset.image_shape[:2]), dataset.class_counts
    flops = FlopsBySize(model, image_shape, len(counts), sizes)
    stepper, schedule = build_stepper(recipe, model, hardware, classes=len(counts), samples=len(train))
    at_once, eval_batch = find_rows_at_once(recipe, config.hardware, stepper, image_shape)
    # From here on everything is charged: what a method prepares counts as training.
    meter = build_meter(hardware.device, **{key: getattr(config.energy, key) for key in METER_SETTINGS})
    meter.start()
    samples, ledger = _sample_table(config, dataset, hardware.device), Ledger(hardware.device)
    auxiliary = auxiliary_models(config, dataset, hardware, ledger, sizes)
    selector = Selector(method, _context(config, dataset, train, samples, held_out, hardware.device, auxiliary))
    # Dropout starts from the seed, whatever was drawn while building, and draws differently on each rank.
    torch.manual_seed(config.seed + 1 + distributed.rank())
    cost = RowCost(flops(), config.energy.active_cost, config.energy.skipped_cost, flops, sizes)
    target = build_target_rate(
        config.method, recipe, counts, selector, stepper=stepper, train=train, cost=cost, has_meter=meter.measures
    )
    return Trainer(
        checkpoints=_checkpoints(config, folder, dataset),  # before the tracker, which begins to write
        selector=selector,
        target=target,
        stepper=stepper,
        schedule=schedule,
        clock=build_clock(recipe),
        scorer=Scorer(stepper, ledger, flops),
        train=train,
        samples=samples,
        dataset=dataset,
        validation=Validation(val, len(dataset.val), eval_batch),
        epochs=recipe.epochs,
        ledger=ledger,
        meter=meter,
        goal=TimeToAccuracy(config.energy.target_accuracy),
        tracker=make_tracker(facts(config, dataset, stepper, at_once, selector.facts())),
        cost=cost,
        log_every=config.tracking.log_every,
        altered=AlteredRows(dataset.altered, hardware.device) if dataset.altered else None,
        averaged=method.averaged,
        eval_every=config.eval_every,
        eval_views=config.eval_views,
        max_steps=config.max_steps,
        profile=folder if config.profile else None,
    )


def _sample_table(config: Config, dataset: Dataset, device: torch.device) -> SampleTable:
    """Returns the table of samples; predictions of mixed images say nothing about a sample and are not kept."""
    recipe = config.recipe
    predicted = config.tracking.predictions and not recipe.mixup and not recipe.cutmix
    classes = len(dataset.classes) if predicted else None
    return SampleTable(dataset.columns, len(dataset.train), device, classes)


def _checkpoints(config: Config, folder: Path, dataset: Dataset) -> Checkpointer:
    """Checks that the checkpoint of the run directory, if there is one, is of this config and data."""
    checkpoints = Checkpointer(folder, f"{config_hash(config)}-{dataset.fingerprint}", config.checkpoint_every_s)
    checkpoints.check()
    return checkpoints


def _load(
    config: Config, dataset: Dataset | None, method: Method, device: torch.device
) -> tuple[Dataset, data.Loaders, tuple[int, ...]]:
    """Loads the data, holds out samples if the config asks for it, and builds the loaders.

    Returns:
        Data set, loaders, and the image size of each epoch in pixels; no sizes without progressive resizing.
    """
    dataset, held = data.split(
        dataset or build_dataset(config),
        config.holdout,
        validate=config.eval_on == "holdout",
        learn=method.needs_holdout,
    )
    _check_batches(config, len(dataset.train), dataset.class_counts)
    logger.info("data: %s", dataset.source)
    on_device, workers = config.hardware.data_on_device, worker_count(config.hardware.workers, device.type)
    loaders = data.build_loaders(
        dataset, held, config.dataset, device=device, on_device=on_device, workers=workers, seed=config.seed
    )
    sizes = sizes_by_epoch(config.recipe.progressive_resizing, config.recipe.epochs, dataset.image_shape[0])
    if sizes:
        train, val, held_out = loaders
        # Held-out samples teach an auxiliary model, once, for the images of the first epoch.
        held_out = None if held_out is None else ResizedLoader(held_out, sizes[:1])
        loaders = data.Loaders(ResizedLoader(train, sizes), val, held_out)
    return dataset, loaders, sizes


def _context(
    config: Config,
    dataset: Dataset,
    train: Loader,
    samples: SampleTable,
    held_out: Loader | None,
    device: torch.device,
    auxiliary_model: Callable[..., AuxiliaryNetwork],
) -> Context:
    """Returns what a method knows of the run."""

    def fetch(ids: torch.Tensor, epoch: int) -> Batch:
        return train.fetch(ids, epoch, samples.visits[ids.cpu().numpy()])

    return Context(
        samples=len(train),
        batch_size=config.recipe.batch_size,
        batch_growth=growth_by_epoch(config.recipe.batch_growth, config.recipe.epochs),
        epochs=config.recipe.epochs,
        seed=config.seed,
        device=device,
        fetch=fetch,
        auxiliary_model=auxiliary_model,
        held_out=None if held_out is None else held_out.fetch,
        held_out_samples=0 if held_out is None else len(held_out),
        warmup_epochs=config.recipe.warmup_epochs,
        repeated_share=lambda: repeated_share(dataset.train),
    )
