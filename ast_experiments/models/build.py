"""Builds the network of a run from the `model` settings, and smaller ones that score samples for it."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ast_experiments.core.errors import ConfigError
from ast_experiments.models.airnet import AirNet, airnet
from ast_experiments.models.cifar_resnet import narrow_channels, narrow_cifar_resnet
from ast_experiments.models.find import builder, place
from ast_experiments.models.simple_cnn import simple_cnn
from ast_experiments.models.timm import check_arch, unseen_pixels

logger = logging.getLogger(__name__)

WHITENING_IMAGES = 5000
"""Training images whose patches a whitening convolution is initialised from."""

WRONG_SIZE = (RuntimeError, AssertionError, ValueError)
"""Errors that networks raise for images of a size they cannot take."""


def build_model(
    settings: Any,
    *,
    classes: int,
    channels: int,
    size: int,
    seed: int,
    device: torch.device,
    memory_format: torch.memory_format,
) -> nn.Module:
    """Builds the network on its device, initialised from the seed.

    Args:
        settings: Dataclass of the `model` settings.
        classes: Outputs.
        channels: Input channels.
        size: Input height and width in pixels.
        seed: Seed of the initial weights.
        device: The training device.
        memory_format: Memory format of the weights.

    Raises:
        ConfigError: If the network cannot be built or does not take such images.
    """
    torch.manual_seed(seed)
    model = make_model(settings, classes, channels, size)
    model = model.to(device, memory_format=memory_format)  # pyright: ignore[reportCallIssue]
    reason = size_error(model.eval(), channels, size)
    if reason:
        raise ConfigError(f"model={settings.name}: does not take images of {size} pixels ({reason})")
    if unseen := unseen_pixels(model, size):
        logger.warning("model=%s: %s", settings.name, unseen)
    return model.train()


def make_model(settings: Any, classes: int, channels: int, size: int) -> nn.Module:
    """Builds the network in host memory, its weights drawn from the global random stream of torch.

    Raises:
        ConfigError: If the settings do not fit together.
    """
    given = {key: value for key, value in dataclasses.asdict(settings).items() if key != "name"}
    return builder(settings.name)(classes, channels, size, **given)


def check_model(settings: Any) -> None:
    """Checks the `model` settings without building the network.

    Raises:
        ConfigError: If the checkpoint file or the architecture does not exist, or a ResNet has no stem to replace.
    """
    checkpoint = getattr(settings, "checkpoint", None)
    if checkpoint is not None and not Path(checkpoint).is_file():
        raise ConfigError(f"model.checkpoint: there is no file {checkpoint}")
    if hasattr(settings, "arch"):
        problem = check_arch(settings.arch)
        if problem:
            raise ConfigError(f"model.arch: {problem}")
    if place(settings.name).endswith(":cifar_resnet"):
        with torch.device("meta"):  # without memory for the weights
            make_model(settings, 10, 3, 32)


def whiten(model: nn.Module, images: Callable[[int], Tensor]) -> None:
    """Initialises the whitening convolution of a network that has one; leaves others as they are.

    Args:
        model: The network.
        images: Called with n, returns up to n normalised training images, shape (n, channels, h, w).
    """
    if isinstance(model, AirNet):
        model.whiten(images(WHITENING_IMAGES))


def size_error(model: nn.Module, channels: int, size: int) -> str | None:
    """Runs two blank images through a network.

    Args:
        model: The network, in eval mode.
        channels: Input channels.
        size: Height and width of the images in pixels.

    Returns:
        The first line of the error if it does not take images of this size, otherwise None.
    """
    device = next(model.parameters()).device
    try:
        with torch.no_grad():
            model(torch.zeros(2, channels, size, size, device=device))
    except WRONG_SIZE as error:
        return (str(error).splitlines() or [type(error).__name__])[0]
    return None


def trains_one_row(model: nn.Module, channels: int, size: int) -> bool:
    """Returns whether a network trains on a batch of one row; a BatchNorm over one pixel does not.

    Args:
        model: The network. It is left as it is.
        channels: Input channels.
        size: Height and width of the images in pixels.
    """
    device = next(model.parameters()).device
    kept, training = {name: buffer.clone() for name, buffer in model.named_buffers()}, model.training
    try:
        with torch.no_grad():
            model.train()(torch.zeros(1, channels, size, size, device=device))
    except ValueError as error:
        return "more than 1 value per channel" not in str(error)
    finally:
        model.train(training)
        for name, buffer in model.named_buffers():
            buffer.copy_(kept[name])
    return True


def build_auxiliary(
    settings: Mapping[str, Any], classes: int, channels: int, size: int, *, width: float, arch: str | None
) -> nn.Module:
    """Builds a smaller network that scores samples for the run's own.

    Args:
        settings: Settings of the run's model, by name.
        classes: Outputs.
        channels: Input channels.
        size: Input height and width in pixels.
        width: Share of the channels that a network of the run's own family keeps, in (0, 1].
        arch: Architecture of timm to use instead; None narrows the run's own network.

    Raises:
        ConfigError: If the run's model cannot be narrowed and no architecture is given.
    """
    import timm

    if arch is not None:
        problem = check_arch(arch)
        if problem:
            raise ConfigError(f"method.proxy_arch: {problem}")
        return timm.create_model(arch, num_classes=classes, in_chans=channels)
    own = settings.get("arch", settings["name"])
    if own == "airnet":
        return airnet(classes, channels, size, width=width * settings["width"])
    if own == "simple_cnn":
        widths = [max(1, round(width * w)) for w in settings["widths"]]
        hidden = max(1, round(width * settings["hidden"]))
        return simple_cnn(classes, channels, size, widths=widths, hidden=hidden, dropout=settings["dropout"])
    try:
        if settings["name"] == "timm":
            return timm.create_model(own, num_classes=classes, in_chans=channels, **narrow_channels(width))
        return narrow_cifar_resnet(classes, channels, own, width)
    except (TypeError, RuntimeError) as error:
        raise ConfigError(
            f"method.proxy_width: {own} has no narrower form; name a small network of timm with method.proxy_arch=NAME"
        ) from error
