"""Stateless random draws for augmentation: pure functions of (seed, epoch, sample id).

Each draw is a hash of the sample id under a key made of seed, epoch and stream. There is no state, so a sample looks
the same in every batch order, worker, rank and resumed run, and can be made again at any time from its id.

The hash is SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

# The constants of SplitMix64 as signed 64-bit integers.
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_MIX = ((30, 0xBF58476D1CE4E5B9 - 2**64), (27, 0x94D049BB133111EB - 2**64))


def draw(seed: int, epoch: int, ids: Tensor, stream: int, high: int) -> Tensor:
    """Draws one uniform integer for each sample.

    Args:
        seed: Seed of the run, 0 to 2**63 - 1.
        epoch: Epoch, 0 or more.
        ids: Sample ids, int64, any shape and device.
        stream: Number that separates draws for different purposes, 0 or more.
        high: Upper bound, exclusive; 1 to 2**31.

    Returns:
        Integers in [0, high), int64, with the shape and device of `ids`. Each value has probability 1/high to within
        2**-32.
    """
    bits = _mix(ids * _GOLDEN + _key(seed, epoch, stream))
    return (_shift(bits, 32) * high) >> 32


def uniform(seed: int, epoch: int, ids: Tensor, stream: int, count: int) -> Tensor:
    """Draws `count` numbers in [0, 1), multiples of 2**-24, for each sample.

    Args:
        seed: Seed of the run, 0 to 2**63 - 1.
        epoch: Epoch, 0 or more.
        ids: Sample ids, int64, shape (n,).
        stream: Number that separates draws for different purposes, 0 or more.
        count: Numbers per sample.

    Returns:
        Numbers, float32, shape (n, count), on the device of `ids`.
    """
    of_sample = _mix(ids * _GOLDEN + _key(seed, epoch, stream))[:, None]
    turns = torch.arange(1, count + 1, device=ids.device)
    return _shift(_mix(of_sample + turns * _GOLDEN), 40).float() / 2**24


@lru_cache(maxsize=256)
def _key(seed: int, epoch: int, stream: int) -> int:
    key = torch.zeros((), dtype=torch.int64, device="cpu")
    for part in (seed, epoch, stream):
        key = _mix(key * _GOLDEN + part + _GOLDEN)
    return int(key)


def _mix(bits: Tensor) -> Tensor:
    """Scrambles 64 bits one to one: the output function of SplitMix64."""
    for shift, factor in _MIX:
        bits = (bits ^ _shift(bits, shift)) * factor
    return bits ^ _shift(bits, 31)


def _shift(bits: Tensor, by: int) -> Tensor:
    """Shifts right without sign extension, unlike the operator of int64."""
    return (bits >> by) & ((1 << (64 - by)) - 1)
