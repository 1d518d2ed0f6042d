"""Horizontal flip: by chance, or in every other epoch."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from ast_experiments.data.rng import draw

_STREAM = 4

Flip = bool | Literal["alternating"]
"""True mirrors an image by chance, "alternating" in every other epoch, False never."""


def mirrored(flip: Flip, by_chance: Tensor, seed: int, epoch: int, ids: Tensor) -> Tensor:
    """Decides which images are mirrored.

    `alternating` mirrors a sample in every other epoch, half of the samples in the even epochs, so that two consecutive
    epochs show both sides (K. Jordan, arXiv 2404.00498, section 3.6).

    Args:
        flip: The setting.
        by_chance: The answer for `True`, bool, shape (n,).
        seed: Seed of the run.
        epoch: Epoch.
        ids: Sample ids, int64, shape (n,).

    Returns:
        bool, shape (n,).
    """
    if flip == "alternating":
        return (draw(seed, 0, ids, _STREAM, 2) + epoch) % 2 == 1
    return by_chance & flip
