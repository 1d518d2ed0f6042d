"""A smaller network input for images that would be enlarged."""

from __future__ import annotations

from typing import Any

from ast_experiments.core.errors import ConfigError

ENLARGED = 0.75
"""Share of the network's input below which the shorter side of the typical image is well below it."""

STEP, LEAST = 8, 32
"""Proposed sizes are multiples of the first, and not below the second."""


def describe_enlarged(side: float, size: int, model: Any, classes: int) -> str:
    """Returns a line about images that are much smaller than the network's input; empty if they are not.

    Args:
        side: Median of the images' shorter sides, in pixels.
        size: Height and width of the network's input.
        model: The `model` settings.
        classes: Outputs of the network.
    """
    if side >= ENLARGED * size:
        return ""
    line = f"{side:.0f} px (median shorter side), enlarged to {size} px"
    smaller = smaller_size(side, size, model, classes)
    return line if smaller is None else f"{line}; type dataset.size={smaller} to save time"


def smaller_size(side: float, size: int, model: Any, classes: int) -> int | None:
    """Returns the size nearest to the images' own that the network takes; None if it should stay as it is.

    Pretrained weights have learned from images of their own size, so it stays.
    """
    from ast_experiments.models.build import WRONG_SIZE

    if getattr(model, "pretrained", False) or getattr(model, "checkpoint", None):
        return None
    for smaller in range(max(LEAST, STEP * round(side / STEP)), size, STEP):
        try:
            if _takes(model, classes, smaller):
                return smaller
        except (ConfigError, *WRONG_SIZE):
            continue
    return None


def _takes(model: Any, classes: int, size: int) -> bool:
    """Builds the network without memory for its weights and tries images of a size."""
    import torch

    from ast_experiments.models.build import make_model, size_error
    from ast_experiments.models.timm import unseen_pixels

    with torch.device("meta"):
        network = make_model(model, classes, 3, size).eval()
    return size_error(network, 3, size) is None and unseen_pixels(network, size) is None
