"""Six views of an image, whose mean logits are often right where one view's are not."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

VIEWS = 6
"""Forward passes of an image."""


def mean_logits(predict: Callable[[Tensor], Tensor], images: Tensor, plain: Tensor) -> Tensor:
    """Mean logits over an image and its mirror, as they are and moved by a pixel up-left and down-right.

    The image in its place has half of the weight. K. Jordan, arXiv 2404.00498, section 3.5.

    Args:
        predict: From images (n, c, h, w) to logits (n, classes).
        images: Normalised, shape (n, c, h, w).
        plain: Logits of the images themselves, float32, shape (n, classes).

    Returns:
        float32, shape (n, classes).
    """
    tall, wide = images.shape[2:]
    larger = functional.pad(images, (1, 1, 1, 1), "reflect")
    moved = [larger[:, :, at : at + tall, at : at + wide] for at in (0, 2)]
    logits = 0.25 * (plain + predict(images.flip(3)).float())
    for view in moved:
        both = torch.stack([predict(view).float(), predict(view.flip(3)).float()])
        logits += 0.125 * both.sum(0)
    return logits
