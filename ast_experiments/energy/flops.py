"""Floating-point operations of a network, counted once; and what a rate of training costs in them.

A multiplication and an addition are two operations. Counted are convolutions, linear layers and attention, as
`torch.utils.flop_counter` does; what it leaves out (normalisation, activations, the optimiser) is small beside them.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

ROWS = 2
"""Rows that are counted at once: BatchNorm refuses to train on one."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Flops:
    """Operations for one sample.

    Attributes:
        forward: Of a forward pass; scoring a sample costs this.
        backward: Of the backward pass; training a sample costs `forward + backward`.
    """

    forward: int
    backward: int


def cost_ratio(rate: float, scored: float, backward_ratio: float) -> float:
    """Operations of a method, relative to training on every sample.

    Args:
        rate: Share of the samples that go through the backward pass.
        scored: Forward passes for scoring, in samples scored per sample offered.
        backward_ratio: Backward over forward operations of the network, about 2.
    """
    whole = 1.0 + backward_ratio
    return (scored + rate * whole) / whole


def count_flops(model: nn.Module, image_shape: tuple[int, int, int], classes: int) -> Flops | None:
    """Operations for one sample, counted on a copy without data; where that fails, on a copy on the CPU.

    Count before `torch.compile`. The model, its gradients and the random generators stay as they are.

    Args:
        model: Takes images (n, channels, height, width), gives logits (n, classes).
        image_shape: Channels, height, width.
        classes: Number of classes.

    Returns:
        The counts, or None with a warning for a network that cannot be run this way.
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
    """The model on another device, in training mode, without gradients."""
    memo: dict[int, Any] = {}
    for tensor in (*model.parameters(), *model.buffers()):
        moved = tensor.detach().to(device, copy=True)
        memo[id(tensor)] = nn.Parameter(moved, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else moved
    return copy.deepcopy(model, memo).train()


def _count(model: nn.Module, images: torch.Tensor, classes: int) -> Flops:
    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.convolution_backward: _conv_backward})
    # Plain attention is made of matrix products, which are counted on every device; fused kernels are not.
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
    """A convolution's backward pass: one product like the forward pass for each of the two gradients wanted.

    PyTorch's own formula counts the gradient of the weights of grouped convolutions `groups` times.
    """
    del bias, stride, padding, dilation, output_padding, groups, out_shape
    places = prod((images if transposed else gradient)[2:])
    return 2 * gradient[0] * places * prod(weight) * (wanted[0] + wanted[1])
