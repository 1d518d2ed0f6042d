"""AirNet, a small network that learns CIFAR-10 fast.

The design of K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU" (arXiv 2404.00498, section 3), which goes
back to D. Page's and tysam-code's speed records.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ast_experiments.core.errors import ConfigError
from ast_experiments.core.ranges import Positive

BLOCKS = (64, 256, 256)
"""Channels of the three blocks at width 1."""

WHITENING = 2
"""Height and width of the whitening convolution."""

EPS = 5e-4
"""Added to the variances of the patches, so that noise is not amplified."""


class AirNet(nn.Module):
    """Frozen whitening convolution, three blocks of two 3x3 convolutions each, and a scaled linear head.

    At width 1, 32 px and 3 channels it has 1,972,792 parameters. Call `whiten` with training images before training.

    Args:
        classes: Outputs.
        channels: Input channels.
        width: Factor on the channels of the blocks, 64, 256 and 256.
    """

    def __init__(self, classes: int = 10, channels: int = 3, *, width: float = 1.0) -> None:
        super().__init__()
        first, second, third = (max(8, round(width * block)) for block in BLOCKS)
        directions = channels * WHITENING**2
        self.whitening = nn.Conv2d(channels, 2 * directions, WHITENING)
        self.whitening.weight.requires_grad_(False)
        nn.init.zeros_(self.whitening.bias)  # pyright: ignore[reportArgumentType]
        self.blocks = nn.Sequential(
            Block(2 * directions, first), Block(first, second), Block(second, third), nn.AdaptiveMaxPool2d(1)
        )
        self.head = nn.Linear(third, classes, bias=False)
        nn.init.normal_(self.head.weight)
        # 1 / 256 at width 1. The root makes a step of the head change the logits equally at every width.
        self.scale = 1 / (16 * third**0.5)

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (n, channels, size, size) to logits (n, classes)."""
        features = self.blocks(functional.gelu(self.whitening(images)))
        return self.head(features.flatten(1)) * self.scale

    @torch.no_grad()
    def whiten(self, images: Tensor) -> None:
        """Makes the first convolution whiten 2x2 patches: it returns their principal components, each with variance 1.

        Its channels are the components and their negatives, ordered from the smallest variance to the largest.

        Args:
            images: Normalised training images, float, shape (n, channels, h, w).
        """
        weight = self.whitening.weight
        patches = functional.unfold(images.float(), WHITENING).transpose(1, 2).reshape(-1, weight[0].numel()).double()
        variances, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
        scaled = (directions / (variances + EPS).sqrt()).T.reshape(-1, *weight.shape[1:])
        weight.copy_(torch.cat([scaled, -scaled]))


class Block(nn.Module):
    """Convolution, 2x2 max pooling, BatchNorm, GELU; convolution, BatchNorm, GELU."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = _convolution(before, after), _norm(after)
        self.conv2, self.norm2 = _convolution(after, after), _norm(after)

    def forward(self, x: Tensor) -> Tensor:
        """Maps features (n, before, h, w) to (n, after, h // 2, w // 2)."""
        x = functional.gelu(self.norm1(functional.max_pool2d(self.conv1(x), 2)))
        return functional.gelu(self.norm2(self.conv2(x)))


def _convolution(before: int, after: int) -> nn.Conv2d:
    """Returns a 3x3 convolution whose first channels start as the identity."""
    layer = nn.Conv2d(before, after, 3, padding=1, bias=False)
    nn.init.dirac_(layer.weight.data[: min(before, after)])
    return layer


def _norm(channels: int) -> nn.BatchNorm2d:
    """Returns BatchNorm without a scale, whose statistics follow the last few batches."""
    layer = nn.BatchNorm2d(channels, eps=1e-12, momentum=0.4)
    layer.weight.requires_grad_(False)
    return layer


def airnet(classes: int, channels: int, size: int, *, width: Positive) -> nn.Module:
    """Builds the model `airnet`; see `AirNet`.

    Raises:
        ConfigError: If the images are too small.
    """
    if size < 9:
        raise ConfigError(f"model=airnet halves the image three times, so it needs 9 pixels or more, not {size}")
    return AirNet(classes, channels, width=width)
