"""Arithmetic that works on plain numbers and on 0-d device tensors alike.

A control law runs on floats where the rate is known on the host, and on device tensors where reading it
would force a host-device synchronisation; the formula is written once.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

Number: TypeAlias = float | Tensor


def clip(x: Number, low: float, high: float) -> Number:
    """`x` limited to [low, high]."""
    if isinstance(x, Tensor):
        return x.clamp(low, high)
    return low if x < low else min(x, high)


def where(condition: bool | Tensor, a: Number, b: Number) -> Number:
    """`a` where the condition holds, `b` elsewhere."""
    if isinstance(condition, Tensor):
        return torch.where(condition, a, b)
    return a if condition else b


def both(a: bool | Tensor, b: bool | Tensor) -> bool | Tensor:
    """Logical and of two conditions."""
    return a & b


def exp(x: Number) -> Number:
    """The exponential."""
    return x.exp() if isinstance(x, Tensor) else math.exp(x)


def generator(seed: int, *key: int) -> np.random.Generator:
    """A random stream that is a pure function of the seed and its key.

    Args:
        seed: The run's seed.
        key: What the draws are for, for instance (purpose, epoch, batch); non-negative.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, *key))))
