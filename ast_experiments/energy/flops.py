"""FLOPs of a network, counted once, and the relative cost of a method in FLOPs.

A multiplication and an addition are two operations. `torch.utils.flop_counter` counts convolutions, linear layers and
attention; it leaves out normalisation, activations and the optimiser, which are small in comparison.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

ROWS = 2
"""Batch size for counting: BatchNorm cannot train on one row."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Flops:
    """FLOPs per sample.

    Attributes:
        forward: FLOPs of the forward pass: the cost of scoring a sample.
        backward: FLOPs of the backward pass; training a sample costs `forward + backward`.
    """

    forward: int
    backward: int


def cost_ratio(rate: float, scored: float, backward_ratio: float) -> float:
    """Computes the FLOPs of a method relative to training on every sample.

    Args:
        rate: Share of the samples that go through the backward pass.
        scored: Samples scored per sample offered.
        backward_ratio: Backward FLOPs over forward FLOPs, about 2.
    """
    whole = 1.0 + backward_ratio
    return (scored + rate * whole) / whole


def count_flops(model: nn.Module, image_shape: tuple[int, int, int], classes: int) -> Flops | None:
    """Counts the FLOPs per sample, on a copy on the meta device or, if that fails, on the CPU.

    Call it before `torch.compile`. The model, its gradients and the random generators do not change.

    Args:
        model: Maps images (n, channels, height, width) to logits (n, classes).
        image_shape: Channels, height, width.
        classes: Number of classes.

    Returns:
        The counts, or None, with a warning, if the network runs on neither.
    """
    reason: Exception | None = None
    for device in ("meta", "cpu"):
        try:
            return _count(_copy(model, device), torch.zeros(ROWS, *image_shape, device=device), classes)
        except Exception as error:
            reason = error
    logger.warning("FLOPs are not counted: %s", str(reason).partition("\n")[0])
    return None


def _copy(model: nn.Module, device: str) -> nn.Module:
    """Copies the model to a device, in training mode, without gradients."""
    memo: dict[int, Any] = {}
    for tensor in (*model.parameters(), *model.buffers()):
        moved = tensor.detach().to(device, copy=True)
        memo[id(tensor)] = nn.Parameter(moved, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else moved
    return copy.deepcopy(model, memo).train()


def _count(model: nn.Module, images: torch.Tensor, classes: int) -> Flops:
    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.convolution_backward: _conv_backward})
    # Plain attention consists of matrix products, which are counted on every device; fused kernels are not.
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        logits = model(images)
        forward = counter.get_total_flops()
        if logits.requires_grad:
            logits.backward(torch.zeros(len(images), classes, device=images.device, dtype=logits.dtype))
        backward = counter.get_total_flops() - forward
    return Flops(forward // len(images), backward // len(images))


def _conv_backward(
    gradient: Sequence[int],
    images: Sequence[int],
    weight: Sequence[int],
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
    wanted: Sequence[bool],
    out_shape: Any = None,
) -> int:
    """Counts a convolution's backward pass: one product like the forward pass per requested gradient.

    PyTorch's own formula counts the weight gradient of a grouped convolution `groups` times.
    """
    del bias, stride, padding, dilation, output_padding, groups, out_shape
    places = prod((images if transposed else gradient)[2:])
    return 2 * gradient[0] * places * prod(weight) * (wanted[0] + wanted[1])


class FlopsBySize:
    """Counts the FLOPs of a sample once for each image size.

    Args:
        model: The network, before `torch.compile`.
        image_shape: Channels, height and width at full size.
        classes: Number of classes.
        sizes: Heights and widths in pixels to count at once; others are counted when they are asked for.
    """

    def __init__(
        self, model: nn.Module, image_shape: tuple[int, int, int], classes: int, sizes: Iterable[int] = ()
    ) -> None:
        self._model, self._channels, self._full, self._classes = model, *image_shape[:2], classes
        self._counted: dict[int, Flops | None] = {}
        for size in (self._full, *sizes):
            self(size)

    def __call__(self, size: int | None = None) -> Flops | None:
        """Returns the FLOPs at a height and width in pixels, None for full size; None if they cannot be counted."""
        size = size or self._full
        if size not in self._counted:
            self._counted[size] = count_flops(self._model, (self._channels, size, size), self._classes)
        return self._counted[size]
