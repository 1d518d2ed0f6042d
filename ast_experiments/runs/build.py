"""The bridge: from a checked config to the objects of a run. Nothing below this module knows of configs."""

from __future__ import annotations

import dataclasses
import importlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ast_experiments.config.resolve import image_settings, scale_batch
from ast_experiments.config.schema import CHOICES, Config
from ast_experiments.core import distributed
from ast_experiments.core.errors import ConfigError
from ast_experiments.data import build as data
from ast_experiments.data.dataset import Dataset
from ast_experiments.energy.build import build_meter, gpu_facts
from ast_experiments.energy.flops import Flops, count_flops
from ast_experiments.energy.ledger import Ledger
from ast_experiments.energy.row_cost import RowCost
from ast_experiments.energy.time_to_accuracy import TimeToAccuracy
from ast_experiments.models import build as models
from ast_experiments.runs.identity import NOMINAL, config_hash
from ast_experiments.selection.build import budget_of, build_method, build_rate_schedule, check_rows, never_chooses
from ast_experiments.selection.method import Context, Method
from ast_experiments.selection.selector import Selector
from ast_experiments.tracking import Tracker
from ast_experiments.training.auto_batch import rows_at_once
from ast_experiments.training.budget import control_for
from ast_experiments.training.checkpoint import Checkpointer
from ast_experiments.training.clock import EpochClock, RowClock
from ast_experiments.training.evaluate import Validation
from ast_experiments.training.hardware import Hardware, build_hardware, check_shared, worker_count
from ast_experiments.training.loop import Trainer
from ast_experiments.training.muon import MuonSGD
from ast_experiments.training.optim import FirstStage, Schedule, build_optimizer
from ast_experiments.training.side_model import SideNet, side_net_maker
from ast_experiments.training.step import Scorer, Stepper, build_mixer, mode_of
from ast_experiments.training.target_rate import TargetRate
from ast_experiments.training.timing import rehearse

logger = logging.getLogger(__name__)


def settings_of(choice: Any, *without: str) -> dict[str, Any]:
    """The fields of a choice by name, without its own name and those given."""
    fields = dataclasses.asdict(choice)
    return {k: v for k, v in fields.items() if k not in ("name", *without)}


def builder(group: str, name: str) -> Callable[..., Any]:
    """What builds a choice, imported when it is needed."""
    module, function = CHOICES[group][name].build.split(":")
    return getattr(importlib.import_module(module), function)


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


def hardware_of(config: Config) -> Hardware:
    """Where the arithmetic runs, and in which precision."""
    keys = ("device", "precision", "channels_last", "compile", "deterministic", "threads")
    return build_hardware(**{key: getattr(config.hardware, key) for key in keys})


def build_model(config: Config, dataset: Dataset, hardware: Hardware) -> nn.Module:
    """The network, initialised from the seed, on its device."""
    size, _, channels = dataset.image_shape
    model = models.build_model(
        config.model,
        classes=len(dataset.classes),
        channels=channels,
        size=size,
        seed=config.seed,
        device=hardware.device,
        memory_format=hardware.memory_format,
    )
    models.whiten(model, lambda rows: data.plain_images(dataset, config.dataset, rows, hardware.device))
    return model


def build_run(
    config: Config,
    folder: Path,
    make_tracker: Callable[[dict[str, Any]], Tracker],
    dataset: Dataset | None = None,
) -> Trainer:
    """Everything that a run consists of.

    Args:
        config: Checked.
        folder: The run directory.
        make_tracker: Called with facts about data and hardware when the rest is built.
        dataset: Instead of the one that the config names.
    """
    config = scale_batch(config)
    hw, hardware = config.hardware, hardware_of(config)
    setpoint = build_rate_schedule(config.method, config.recipe.epochs)
    ledger = Ledger(hardware.device)
    dataset, held = data.hold_out(dataset or build_dataset(config), config.holdout)
    if config.eval_on == "holdout" and held is not None:
        # What a method trains on is not what it is validated on.
        half = method_of(config).needs_holdout
        dataset = dataclasses.replace(dataset, val=held.take(np.arange(half, len(held), 1 + half)))
        held = held.take(np.arange(0, len(held), 2)) if half else held
    _check_batches(config, len(dataset.train))
    logger.info("data: %s", dataset.source)
    train, val, held_out = data.build_loaders(
        dataset,
        held,
        config.dataset,
        device=hardware.device,
        on_device=hw.data_on_device,
        workers=worker_count(hw.workers, hardware.device.type),
        seed=config.seed,
    )
    model = build_model(config, dataset, hardware)
    recipe = config.recipe
    channels_first = (dataset.image_shape[2], *dataset.image_shape[:2])
    flops = count_flops(model, channels_first, len(dataset.classes))
    optimizer, schedule = _optimiser(config, model)
    stepper = Stepper(
        model,
        optimizer,
        hardware,
        label_smoothing=recipe.label_smoothing,
        clip_grad=recipe.clip_grad,
        ema=_ema(model, recipe.ema_decay),
        mix=build_mixer(recipe.mixup, recipe.cutmix, len(dataset.classes)),
    )
    scorer = Scorer(stepper, ledger, _forward_flops(model, channels_first, len(dataset.classes), flops))
    _check_score_size(config, model, channels_first)
    method = method_of(config)
    own_batch, eval_batch = recipe.batch_size // distributed.size(), recipe.eval_batch_size
    if hw.auto_batch:
        own_batch, eval_batch = rows_at_once(stepper, channels_first, own_batch, eval_batch)
    # From here on everything is charged: what a method prepares counts as training.
    meter = build_meter(hardware.device, **settings_of(config.energy, "target_accuracy", *NOMINAL))
    meter.start()
    hooks = Selector(
        method,
        Context(
            samples=len(dataset.train),
            batch_size=recipe.batch_size,
            epochs=recipe.epochs,
            seed=config.seed,
            device=hardware.device,
            fetch=train.fetch,
            side_net=_side_nets(config, dataset, hardware, ledger),
            held_out=None if held_out is None else held_out.fetch,
            held_out_samples=0 if held is None else len(held),
            warmup_epochs=recipe.warmup_epochs,
        ),
    )
    # Whatever was drawn while building, dropout starts from the seed; other draws on each rank.
    torch.manual_seed(config.seed + 1 + distributed.rank())
    budget = budget_of(config.method)
    control = None
    if budget is not None and setpoint is not None:
        control = control_for(
            budget,
            setpoint,
            epochs=recipe.epochs,
            samples=len(dataset.train),
            batch_size=recipe.batch_size,
            flops=flops,
            scored_share=hooks.scored_share,
            rehearse=lambda: rehearse(
                stepper, train, recipe.batch_size, scoring=hooks.scored_share(config.method.rate) > 0
            ),
            has_meter=meter.measures,
        )
        logger.info(control.check())
    elif never_chooses(method, setpoint, recipe.epochs):
        logger.warning(
            "every sample is trained once before one is chosen, which takes all %d epochs at these rates: the choice "
            "is uniform throughout; recipe.epochs=N or method.warmup_epochs=1 would change that",
            recipe.epochs,
        )
    facts = {
        "hardware": hardware.describe() | gpu_facts(hardware.device),
        "data_source": dataset.source,
        "data_fingerprint": dataset.fingerprint,
        **dataset.facts,
        **({"pictures": made} if (made := image_settings(config)) else {}),
        "train_samples": len(dataset.train),
        "val_samples": len(dataset.val),
        "parameters": sum(p.numel() for p in model.parameters()),
        "batch": {"rows": recipe.batch_size, "at_once": own_batch, "processes": distributed.size(), "lr": recipe.lr},
    }
    fingerprint = f"{config_hash(config)}-{dataset.fingerprint}"
    checkpoints = Checkpointer(folder, fingerprint, config.checkpoint_every_s)
    checkpoints.check()
    return Trainer(
        hooks=hooks,
        target=TargetRate(setpoint, recipe.epochs, control),
        stepper=stepper,
        schedule=schedule,
        clock=RowClock() if recipe.clock == "rows" else EpochClock(recipe.epochs),
        scorer=scorer,
        train=train,
        validation=Validation(val, len(dataset.val), eval_batch),
        epochs=recipe.epochs,
        ledger=ledger,
        meter=meter,
        goal=TimeToAccuracy(config.energy.target_accuracy),
        tracker=make_tracker(facts),
        checkpoints=checkpoints,
        cost=RowCost(flops, config.energy.active_cost, config.energy.skipped_cost),
        log_every=config.tracking.log_every,
        averaged=method.averaged,
        eval_every=config.eval_every,
        eval_views=config.eval_views,
        max_steps=config.max_steps,
        profile=folder if config.profile else None,
    )


def _check_score_size(config: Config, model: nn.Module, image_shape: tuple[int, int, int]) -> None:
    size = getattr(config.method, "score_size", None)
    if size is None or getattr(config.method, "score_net", None) == "proxy":
        return
    with mode_of(model, "eval"):
        refused = models.size_error(model, image_shape[0], size)
    if refused:
        raise ConfigError(
            f"method.score_size: {config.model.name} takes no images of {size} pixels here; type method.score_size=null"
        )


def _optimiser(config: Config, model: nn.Module) -> tuple[torch.optim.Optimizer, Schedule]:
    recipe = config.recipe
    if recipe.muon_sgd is not None:
        rest, rows = recipe.muon_sgd, recipe.batch_size  # the loss is a mean over the batch, these rates are of its sum
        optimizer: torch.optim.Optimizer = MuonSGD(
            model,
            lr=recipe.lr,
            momentum=recipe.momentum,
            bias_lr=rest.bias_lr * rows,
            head_lr=rest.head_lr * rows,
            sgd_momentum=rest.momentum,
            weight_decay=recipe.weight_decay * rows,
        )
    else:
        optimizer = build_optimizer(
            model,
            recipe.optimizer,
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            decay_norm_and_bias=recipe.decay_norm_and_bias,
        )
    schedule = Schedule(
        optimizer,
        recipe.schedule,
        epochs=recipe.epochs,
        by_epoch=recipe.schedule_by == "epoch",
        warmup_epochs=recipe.warmup_epochs,
        warmup_lr=recipe.warmup_lr,
        min_lr=recipe.min_lr,
        label_smoothing=recipe.label_smoothing,
        first=None if recipe.first_stage is None else FirstStage(**dataclasses.asdict(recipe.first_stage)),
    )
    return optimizer, schedule


def _forward_flops(
    model: nn.Module, image_shape: tuple[int, int, int], classes: int, full: Flops | None
) -> Callable[[int | None], int]:
    """FLOPs of a forward pass at so many pixels, counted once for each size."""
    counted = {None: full, image_shape[1]: full}

    def forward(size: int | None) -> int:
        if size not in counted:
            counted[size] = count_flops(model, (image_shape[0], size, size), classes)  # pyright: ignore
        count = counted[size]
        return 0 if count is None else count.forward

    return forward


def _side_nets(config: Config, dataset: Dataset, hardware: Hardware, ledger: Ledger) -> Callable[..., SideNet]:
    height, _, channels = dataset.image_shape
    classes, settings = len(dataset.classes), dataclasses.asdict(config.model)

    def make(width: float, arch: str | None, size: int | None) -> nn.Module:
        torch.manual_seed(config.seed)
        try:
            model = models.side_model(settings, classes, channels, size or height, width=width, arch=arch)
        except ConfigError as error:
            whose = f"method.score_size: {size} pixels are too few; " if size else ""
            raise ConfigError(f"{whose}{error}") from None
        if size in (None, height):
            models.whiten(model, lambda rows: data.plain_images(dataset, config.dataset, rows, torch.device("cpu")))
        return model.to(hardware.device, memory_format=hardware.memory_format)  # pyright: ignore

    def count(model: nn.Module, size: int | None) -> Flops:
        pixels = size or height
        return count_flops(model, (channels, pixels, pixels), classes) or Flops(0, 0)

    return side_net_maker(make, lambda model: _optimiser(config, model), count, hardware, ledger)


def _ema(model: nn.Module, decay: float | None) -> Any:
    if decay is None:
        return None
    from timm.utils.model_ema import ModelEmaV3

    return ModelEmaV3(model, decay=decay)
