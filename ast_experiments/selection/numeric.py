"""Arithmetic on plain numbers and 0-d device tensors alike, and seeded random streams.

A control law computes with floats where the host knows the rate, and with device tensors where reading the rate would
synchronise host and device. These functions let it state its formula once.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

Number: TypeAlias = float | Tensor
PLAIN = (float, int)
"""Types of plain numbers. Checking for these is four times faster than checking for `Tensor`."""


def clip(x: Number, low: float, high: float) -> Number:
    """Limits `x` to [low, high]."""
    if isinstance(x, PLAIN):
        return low if x < low else high if x > high else x
    return x.clamp(low, high)


def where(condition: bool | Tensor, a: Number, b: Number) -> Number:
    """Returns `a` where the condition holds, and `b` elsewhere."""
    if isinstance(condition, (bool, np.bool_)):
        return a if condition else b
    return torch.where(condition, a, b)


def both(a: bool | Tensor, b: bool | Tensor) -> bool | Tensor:
    """Returns the logical and of two conditions."""
    return a & b


def exp(x: Number) -> Number:
    """Returns the exponential of `x`."""
    return math.exp(x) if isinstance(x, PLAIN) else x.exp()


def generator(seed: int, *key: int) -> np.random.Generator:
    """Returns a random stream that depends on the seed and the key alone.

    Args:
        seed: Seed of the run.
        key: Purpose of the draws, for instance (purpose, epoch, batch); non-negative.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, *key))))
