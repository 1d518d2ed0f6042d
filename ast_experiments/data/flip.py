"""Horizontal flip: by chance, or at every other visit."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from ast_experiments.data.rng import draw

_STREAM = 4

Flip = bool | Literal["alternating"]
"""True mirrors an image by chance, "alternating" at every other visit, False never."""


def mirrored(flip: Flip, by_chance: Tensor, seed: int, visits: Tensor | int, ids: Tensor) -> Tensor:
    """Decides which images are mirrored.

    `alternating` mirrors a sample at every other visit, half of the samples at the first one, so that two consecutive
    visits show both sides (K. Jordan, arXiv 2404.00498, section 3.6, where every epoch visits every sample).

    Args:
        flip: The setting.
        by_chance: The answer for `True`, bool, shape (n,).
        seed: Seed of the run.
        visits: Earlier epochs that trained each sample, int64, shape (n,), or the same number for all.
        ids: Sample ids, int64, shape (n,).

    Returns:
        bool, shape (n,).
    """
    if flip == "alternating":
        return (draw(seed, 0, ids, _STREAM, 2) + visits) % 2 == 1
    return by_chance & flip
