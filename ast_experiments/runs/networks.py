"""Builds the networks of a run: its own and the auxiliary models of a method."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import nn

from ast_experiments.config.schema import Config
from ast_experiments.core.errors import ConfigError
from ast_experiments.data import build as data
from ast_experiments.data.dataset import Dataset
from ast_experiments.energy.flops import Flops, count_flops
from ast_experiments.energy.ledger import Ledger
from ast_experiments.models import build as models
from ast_experiments.training.auxiliary_model import AuxiliaryNetwork, auxiliary_model_maker
from ast_experiments.training.hardware import Hardware
from ast_experiments.training.optim import build_optim
from ast_experiments.training.step import mode_of


def build_model(config: Config, dataset: Dataset, hardware: Hardware) -> nn.Module:
    """Builds the network on its device, initialised from the seed."""
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


def check_score_size(config: Config, model: nn.Module, image_shape: tuple[int, int, int]) -> None:
    """Checks that the network can score images of the size that the method asks for.

    Raises:
        ConfigError: If it cannot.
    """
    size = getattr(config.method, "score_size", None)
    if size is None or getattr(config.method, "score_net", None) == "proxy":
        return
    with mode_of(model, "eval"):
        refused = models.size_error(model, image_shape[0], size)
    if refused:
        raise ConfigError(
            f"method.score_size: {config.model.name} takes no images of {size} pixels here; type method.score_size=null"
        )


def auxiliary_models(
    config: Config, dataset: Dataset, hardware: Hardware, ledger: Ledger
) -> Callable[..., AuxiliaryNetwork]:
    """Returns `Context.auxiliary_model`, which makes the auxiliary models of a method."""
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
        return model.to(hardware.device, memory_format=hardware.memory_format)  # pyright: ignore

    def count(model: nn.Module, size: int | None) -> Flops:
        pixels = size or height
        return count_flops(model, (channels, pixels, pixels), classes) or Flops(0, 0)

    return auxiliary_model_maker(make, lambda model: build_optim(config.recipe, model), count, hardware, ledger)
