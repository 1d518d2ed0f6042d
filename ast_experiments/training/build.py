"""The bridge: from a checked config to the objects of a run. Nothing below this module knows of configs."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ast_experiments.config import CHOICES, Config
from ast_experiments.data.augment import Augment
from ast_experiments.data.images import Dataset
from ast_experiments.data.loaders import Loader, build_loader
from ast_experiments.energy.ledger import Ledger
from ast_experiments.errors import ConfigError
from ast_experiments.selection.protocol import Context, hooks_of
from ast_experiments.selection.setpoint import SetPoint
from ast_experiments.tracking import Tracker
from ast_experiments.training.hardware import Hardware, build_hardware
from ast_experiments.training.optim import Schedule, build_optimizer
from ast_experiments.training.run import Run
from ast_experiments.training.step import Scorer, Stepper

SETPOINT = ("rate", "rate_schedule", "rate_final", "warmup_epochs", "final_epochs", "budget")
AUGMENT = ("mean", "std", "crop_padding", "horizontal_flip")

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
    """Load the data set and check that it fits the rest of the config.

    Raises:
        DataError: If it is not there or not what it should be.
        ConfigError: If normalisation or batch size do not fit it.
    """
    settings = config.dataset
    dataset = builder("dataset", settings.name)(**settings_of(settings, *AUGMENT))
    channels = dataset.image_shape[2]
    for key in ("mean", "std"):
        values = getattr(settings, key)
        if len(values) != channels:
            raise ConfigError(f"dataset.{key}: has {len(values)} values, but the images have {channels} channels")
    if config.recipe.batch_size > len(dataset.train):
        raise ConfigError(
            f"recipe.batch_size: {config.recipe.batch_size} is more than the {len(dataset.train)} training samples; "
            f"type recipe.batch_size={len(dataset.train)} or less"
        )
    rate = min(getattr(config.method, "rate", None) or 1.0, getattr(config.method, "rate_final", None) or 1.0)
    fresh = getattr(config.method, "scoring", "stale") != "stale"
    rows = int(rate * len(dataset.train))
    if not fresh and rows < config.recipe.batch_size:
        raise ConfigError(
            f"recipe.batch_size: {config.recipe.batch_size} is more than the {rows} rows that an epoch trains "
            f"at rate {rate:g}; type recipe.batch_size={max(1, rows // 4)} or so"
        )
    return dataset


def build_selector(config: Config) -> Any:
    """The method, with its controller and significance where it uses them."""
    name = config.method.name
    settings = settings_of(config.method, *SETPOINT)
    for group in CHOICES["method"][name].uses:
        choice = getattr(config, group)
        settings[group] = builder(group, choice.name)(**settings_of(choice))
    return builder("method", name)(**settings)


def build_setpoint(config: Config) -> SetPoint | None:
    """The set-point of a method that is given a rate."""
    method = config.method
    if not hasattr(method, "rate"):
        return None
    dense = method.warmup_epochs + method.final_epochs
    if dense >= config.recipe.epochs:
        more = f" and method.final_epochs={method.final_epochs}" if method.final_epochs else ""
        raise ConfigError(
            f"method.warmup_epochs: {method.warmup_epochs}{more} leaves nothing of recipe.epochs={config.recipe.epochs}"
        )
    return SetPoint(method.rate, method.rate_final, method.rate_schedule, method.warmup_epochs, method.final_epochs)


def build_model(config: Config, dataset: Dataset, hardware: Hardware) -> nn.Module:
    """The network, initialised from the seed, on its device."""
    height, _, channels = dataset.image_shape
    torch.manual_seed(config.seed)
    model = builder("model", config.model.name)(len(dataset.classes), channels, height, **settings_of(config.model))
    model = model.to(hardware.device, memory_format=hardware.memory_format)
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(2, channels, height, height, device=hardware.device))
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"model={config.model.name}: does not take images of {height} pixels ({reason})") from error
    return model.train()


def build_run(
    config: Config,
    folder: Path,
    make_tracker: Callable[[dict[str, Any]], Tracker],
    dataset: Dataset | None = None,
) -> Run:
    """Everything that a run consists of.

    Args:
        config: Checked.
        folder: The run directory.
        make_tracker: Called with facts about data and hardware when the rest is built.
        dataset: Instead of the one that the config names.
    """
    hw = config.hardware
    hardware = build_hardware(
        device=hw.device,
        precision=hw.precision,
        channels_last=hw.channels_last,
        compile=hw.compile,
        deterministic=hw.deterministic,
        threads=hw.threads,
    )
    setpoint = build_setpoint(config)
    ledger = Ledger(hardware.device)
    dataset = dataset or build_dataset(config)
    logger.info("data: %s", dataset.source)
    train, val = _loaders(config, dataset, hardware)
    model = build_model(config, dataset, hardware)
    recipe = config.recipe
    optimizer = build_optimizer(
        model,
        recipe.optimizer,
        lr=recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        decay_norm_and_bias=recipe.decay_norm_and_bias,
    )
    stepper = Stepper(
        model,
        optimizer,
        hardware,
        label_smoothing=recipe.label_smoothing,
        clip_grad=recipe.clip_grad,
        ema=_ema(model, recipe.ema_decay),
    )
    schedule = Schedule(
        optimizer,
        recipe.schedule,
        epochs=recipe.epochs,
        by_epoch=recipe.schedule_by == "epoch",
        warmup_epochs=recipe.warmup_epochs,
        warmup_lr=recipe.warmup_lr,
        min_lr=recipe.min_lr,
    )
    scorer = Scorer(stepper, ledger)
    hooks = hooks_of(build_selector(config))
    hooks.prepare(
        Context(
            samples=len(dataset.train),
            classes=len(dataset.classes),
            labels=torch.from_numpy(dataset.train.labels),
            batch_size=recipe.batch_size,
            epochs=recipe.epochs,
            seed=config.seed,
            device=hardware.device,
            fetch=train.fetch,
            score=scorer,
            side_net=lambda *_: None,  # pyright: ignore
            warmup_epochs=recipe.warmup_epochs,
        )
    )
    # Whatever was drawn while building, dropout starts from the seed.
    torch.manual_seed(config.seed + 1)
    facts = {
        "hardware": hardware.describe(),
        "data_source": dataset.source,
        "data_fingerprint": dataset.fingerprint,
        "train_samples": len(dataset.train),
        "val_samples": len(dataset.val),
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    return Run(
        folder=folder,
        hooks=hooks,
        setpoint=setpoint,
        stepper=stepper,
        schedule=schedule,
        scorer=scorer,
        train=train,
        val=val,
        val_ids=np.arange(len(dataset.val), dtype=np.int64),
        eval_batch=recipe.eval_batch_size,
        epochs=recipe.epochs,
        ledger=ledger,
        tracker=make_tracker(facts),
        costs=(config.energy.active_cost, config.energy.skipped_cost),
        log_every=config.tracking.log_every,
        checkpoint_every_s=config.checkpoint_every_s,
        eval_every=config.eval_every,
        max_steps=config.max_steps,
        profile=config.profile,
        fingerprint=f"{config_hash(config)}-{dataset.fingerprint}",
    )


def config_hash(config: Config) -> str:
    """Identifies what determines a run's numbers: everything but names, tags and where the numbers go."""
    settings = dataclasses.asdict(config)
    for key in ("tracking", "group", "tags", "experiment_name", "checkpoint_every_s", "profile"):
        del settings[key]
    settings["dataset"].pop("root", None)
    settings["dataset"].pop("download", None)
    settings["tracking.log_every"] = config.tracking.log_every
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def _loaders(config: Config, dataset: Dataset, hardware: Hardware) -> tuple[Loader, Loader]:
    settings, hw = config.dataset, config.hardware
    augment = Augment(settings.crop_padding, settings.horizontal_flip)

    def make(images: Any, augment: Augment) -> Loader:
        return build_loader(
            images,
            device=hardware.device,
            on_device=hw.data_on_device,
            workers=hw.workers,
            augment=augment,
            mean=settings.mean,
            std=settings.std,
            seed=config.seed,
        )

    return make(dataset.train, augment), make(dataset.val, Augment(0, False))


def _ema(model: nn.Module, decay: float | None) -> Any:
    if decay is None:
        return None
    from timm.utils.model_ema import ModelEmaV3

    return ModelEmaV3(model, decay=decay)
