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
PLAIN = (float, int)
"""To tell numbers from tensors; asking whether something is a tensor takes four times as long."""


def clip(x: Number, low: float, high: float) -> Number:
    """`x` limited to [low, high]."""
    if isinstance(x, PLAIN):
        return low if x < low else high if x > high else x
    return x.clamp(low, high)


def where(condition: bool | Tensor, a: Number, b: Number) -> Number:
    """`a` where the condition holds, `b` elsewhere."""
    if isinstance(condition, (bool, np.bool_)):
        return a if condition else b
    return torch.where(condition, a, b)


def both(a: bool | Tensor, b: bool | Tensor) -> bool | Tensor:
    """Logical and of two conditions."""
    return a & b


def exp(x: Number) -> Number:
    """The exponential."""
    return math.exp(x) if isinstance(x, PLAIN) else x.exp()


def generator(seed: int, *key: int) -> np.random.Generator:
    """A random stream that is a pure function of the seed and its key.

    Args:
        seed: The run's seed.
        key: What the draws are for, for instance (purpose, epoch, batch); non-negative.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, *key))))
