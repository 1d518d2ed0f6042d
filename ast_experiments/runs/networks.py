"""Builds the networks of a run: its own and the auxiliary models of a method."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import nn

from ast_experiments.config.schema import Config
from ast_experiments.core import distributed
from ast_experiments.core.errors import ConfigError
from ast_experiments.data import build as data
from ast_experiments.data.dataset import Dataset
from ast_experiments.energy.flops import Flops, FlopsBySize
from ast_experiments.energy.ledger import Ledger
from ast_experiments.models import build as models
from ast_experiments.selection.build import budget_of, build_method, build_rate_schedule
from ast_experiments.training.auxiliary_model import AuxiliaryNetwork, auxiliary_model_maker
from ast_experiments.training.hardware import Hardware
from ast_experiments.training.optim import build_optim
from ast_experiments.training.step import mode_of


def build_model(config: Config, dataset: Dataset, hardware: Hardware, sizes: Iterable[int] = ()) -> nn.Module:
    """Builds the network on its device, initialised from the seed.

    Args:
        config: Of the run.
        dataset: Its data set.
        hardware: Its hardware.
        sizes: Heights and widths in pixels of the training images; none if all have the full size.

    Raises:
        ConfigError: If it does not take images of a size at which it is to train or score.
    """
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
    _check_sizes(config, model, channels, sizes)
    _check_short_batches(config, model, channels, list(sizes) or [size], dataset.class_counts)
    return model


def _check_sizes(config: Config, model: nn.Module, channels: int, sizes: Iterable[int]) -> None:
    """Checks that the network takes images of every size at which it trains or scores."""
    scored = getattr(config.method, "score_size", None)
    scored = None if getattr(config.method, "score_net", None) == "proxy" else scored
    instead = ", or choose a model for images of any size, e.g. model=resnet18_cifar"
    asked = [(size, "recipe.progressive_resizing", instead) for size in sorted(set(sizes))]
    for size, setting, end in [*asked, *([(scored, "method.score_size", "")] if scored else [])]:
        with mode_of(model, "eval"):
            refused = models.size_error(model, channels, size)
        if refused:
            raise ConfigError(
                f"{setting}: {config.model.name} takes no images of {size} pixels here; type {setting}=null{end}"
            )


def _check_short_batches(
    config: Config, model: nn.Module, channels: int, sizes: Iterable[int], class_counts: np.ndarray
) -> None:
    """Refuses a run in which a batch of one row would reach a BatchNorm over one pixel, in whatever epoch.

    Args:
        config: Of the run.
        model: Its network.
        channels: Of an image.
        sizes: Heights and widths in pixels of the images that are trained.
        class_counts: Training samples by class.

    Raises:
        ConfigError: With a batch size that leaves no single row, or another way out.
    """
    batch, processes = config.recipe.batch_size, distributed.size()
    epochs, samples = config.recipe.epochs, int(class_counts.sum())
    schedule = build_rate_schedule(config.method, epochs, class_counts)
    chosen = schedule is not None and all(schedule.target(epoch, epochs) < 1 for epoch in range(epochs))
    method = build_method(config.method, config.controller, config.significance)
    whole = not chosen or budget_of(config.method) is not None or method.trains_every_row
    alone = whole and _lonely(samples, batch, processes)
    loose = not method.fills_batches
    if not (alone or loose) or all(models.trains_one_row(model, channels, size) for size in set(sizes)):
        return
    why = "the network has a BatchNorm over one pixel, which has no variance in a batch of one row"
    if loose:
        raise ConfigError(f"method.packing: false trains batches of any size, and {why}; type method.packing=true")
    fits = (size for size in range(batch, 0, -processes) if not _lonely(samples, size, processes))
    raise ConfigError(
        f"recipe.batch_size: {batch} leaves one row for the last batch of the {samples:,} training samples, and {why}; "
        f"type recipe.batch_size={next(fits, 2 * batch)}"
    )


def _lonely(samples: int, batch: int, processes: int) -> bool:
    """Returns whether a process gets one row of the last batch of an epoch that trains all samples."""
    rows = samples % batch
    return any(rows * (rank + 1) // processes - rows * rank // processes == 1 for rank in range(processes))


def auxiliary_models(
    config: Config, dataset: Dataset, hardware: Hardware, ledger: Ledger, sizes: Iterable[int] = ()
) -> Callable[..., AuxiliaryNetwork]:
    """Returns `Context.auxiliary_model`, which makes the auxiliary models of a method.

    Args:
        config: Of the run.
        dataset: Its data set.
        hardware: Its hardware.
        ledger: Charged for what the models do.
        sizes: Heights and widths in pixels of the training images; none if all have the full size.
    """
    height, _, channels = dataset.image_shape
    classes, settings = len(dataset.classes), dataclasses.asdict(config.model)

    def make(width: float, arch: str | None, size: int | None) -> nn.Module:
        torch.manual_seed(config.seed)
        try:
            model = models.build_auxiliary(settings, classes, channels, size or height, width=width, arch=arch)
        except ConfigError as error:
            whose = f"method.score_size: {size} pixels are too few; " if size else ""
            raise ConfigError(f"{whose}{error}") from None
        if size in (None, height):
            models.whiten(model, lambda rows: data.plain_images(dataset, config.dataset, rows, torch.device("cpu")))
        model = model.to(hardware.device, memory_format=hardware.memory_format)  # pyright: ignore
        for pixels in seen(size):
            if models.size_error(model.eval(), channels, pixels):
                raise ConfigError(
                    f"recipe.progressive_resizing: the method's own network, {arch or config.model.name}, takes no "
                    f"images of {pixels} pixels; type recipe.progressive_resizing=null, or another method.proxy_arch"
                )
        return model.train()

    def count(model: nn.Module, size: int | None) -> Callable[[int], Flops]:
        largest = size or height
        counted = FlopsBySize(model, (channels, largest, largest), classes, seen(size))
        return lambda pixels: counted(pixels) or Flops(0, 0)

    def seen(size: int | None) -> list[int]:
        return sorted({min(size or height, each) for each in sizes})

    return auxiliary_model_maker(make, lambda model: build_optim(config.recipe, model), count, hardware, ledger)
