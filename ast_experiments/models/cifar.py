"""timm networks with a stem for 32-pixel images."""

from __future__ import annotations

from typing import Any

from torch import nn


def small_image_stem(model: nn.Module) -> nn.Module:
    """Replace the stem of a timm ResNet: one 3x3 convolution with stride 1, no pooling.

    The usual form for CIFAR (He et al. 2015, section 4.2): at 32 px the ImageNet stem would throw away all but 8 x 8
    positions before the first block.

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
