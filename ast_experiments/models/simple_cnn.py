"""The small convolutional network of the CIFAR-10 report."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Len
from torch import Tensor, nn

from ast_experiments.core.errors import ConfigError
from ast_experiments.core.ranges import Count, DropRate


class SimpleCNN(nn.Module):
    """Three times [3x3 convolution, ReLU, 2x2 max pooling], then two linear layers.

    Without BatchNorm; dropout before the last layer. At 32 px and 3 channels it has 620,362 parameters.

    Args:
        classes: Outputs.
        channels: Input channels.
        size: Input height and width in pixels, at least 8.
        widths: Channels of the three convolutions.
        hidden: Width of the hidden linear layer.
        dropout: Probability of dropping a hidden unit.
    """

    def __init__(
        self,
        classes: int = 10,
        channels: int = 3,
        size: int = 32,
        *,
        widths: tuple[int, int, int] = (32, 64, 128),
        hidden: int = 256,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((channels, *widths[:-1]), widths, strict=True):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(widths[-1] * (size // 8) ** 2, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (n, channels, size, size) to logits (n, classes)."""
        return self.classifier(self.features(images))


def simple_cnn(
    classes: int,
    channels: int,
    size: int,
    *,
    widths: Annotated[list[Count], Len(3, 3)],
    hidden: Count,
    dropout: DropRate,
) -> nn.Module:
    """Builds the model `simple_cnn`; see `SimpleCNN`.

    Raises:
        ConfigError: If the images are too small.
    """
    if size < 8:
        raise ConfigError(f"model=simple_cnn halves the image three times, so it needs 8 pixels or more, not {size}")
    first, second, third = widths
    return SimpleCNN(classes, channels, size, widths=(first, second, third), hidden=hidden, dropout=dropout)
