"""ResNets of timm with a stem for 32-pixel images."""

from __future__ import annotations

from typing import Any

from torch import nn

from ast_experiments.core.errors import ConfigError
from ast_experiments.core.ranges import DropRate


def cifar_resnet(classes: int, channels: int, size: int, *, arch: str, drop_path: DropRate) -> nn.Module:
    """Builds the models `resnet18_cifar` and so on: a timm ResNet with a 3x3 stem and without pooling after it.

    Raises:
        ConfigError: If the architecture is not a ResNet.
    """
    del size
    settings: dict[str, Any] = {"drop_path_rate": drop_path} if drop_path else {}
    return _with_small_stem(arch, classes, channels, settings)


def narrow_cifar_resnet(classes: int, channels: int, arch: str, width: float) -> nn.Module:
    """Builds such a ResNet with a share `width` of the channels.

    Raises:
        ConfigError: If the architecture is not a ResNet.
    """
    return _with_small_stem(arch, classes, channels, narrow_channels(width) if width != 1 else {})


def narrow_channels(width: float) -> dict[str, Any]:
    """Returns timm's arguments for a ResNet with a share of the channels."""
    return {"channels": tuple(max(1, round(width * c)) for c in (64, 128, 256, 512))}


def small_image_stem(model: nn.Module) -> nn.Module:
    """Replaces the stem of a timm ResNet by one 3x3 convolution with stride 1, without pooling.

    This is the usual form for CIFAR (He et al. 2015, section 4.2): at 32 px the ImageNet stem would reduce the image to
    8 x 8 positions before the first block.

    Raises:
        ValueError: If the network has no `conv1` and `maxpool` to replace.
    """
    conv: Any = getattr(model, "conv1", None)
    if conv is None or not hasattr(model, "maxpool"):
        raise ValueError(f"{type(model).__name__} has no ResNet stem (conv1, maxpool) to replace")
    layers: list[Any] = list(conv) if isinstance(conv, nn.Sequential) else [conv]
    stem = nn.Conv2d(layers[0].in_channels, layers[-1].out_channels, 3, stride=1, padding=1, bias=False)
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
    model.conv1 = stem
    model.maxpool = nn.Identity()
    return model


def _with_small_stem(arch: str, classes: int, channels: int, settings: dict[str, Any]) -> nn.Module:
    import timm

    try:
        return small_image_stem(timm.create_model(arch, num_classes=classes, in_chans=channels, **settings))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"model.arch={arch}: {error}; type a ResNet of timm, or model=timm model.arch={arch}"
        ) from error
