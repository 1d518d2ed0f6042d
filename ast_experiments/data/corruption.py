"""Corruption of the pixels of one image: blur or noise."""

from __future__ import annotations

import numpy as np

PURPOSE = 14
NOISE = 0.2
"""Standard deviation of the noise, of pixels scaled to [0, 1]."""
SIGMA = 1 / 32
"""Standard deviation of the blur, as a share of the image's shorter side."""
LEAST_SIGMA = 0.75
"""The same in pixels, at least: less would leave very small images as they are."""


def corrupt(pixels: np.ndarray, row: int, seed: int) -> np.ndarray:
    """Blurs an image or adds Gaussian noise, with equal probability; a function of row and seed.

    The kinds are those of Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and
    perturbations", ICLR 2019. Their strongest blur is 1/32 of the side for CIFAR-10 and 1/37 for ImageNet; their noise
    has deviations of 0.04 to 0.10 and of 0.08 to 0.38.

    Args:
        pixels: uint8, shape (h, w, c).
        row: Row of the training set, 0 or more.
        seed: Seed of the regime.

    Returns:
        uint8, shape (h, w, c).
    """
    random = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, PURPOSE, row))))
    if random.random() < 0.5:
        return _blurred(pixels, max(LEAST_SIGMA, SIGMA * min(pixels.shape[:2])))
    noise = random.standard_normal(pixels.shape, np.float32)
    return np.rint(pixels + np.float32(255 * NOISE) * noise).clip(0, 255).astype(np.uint8)


def _blurred(pixels: np.ndarray, sigma: float) -> np.ndarray:
    from PIL import Image, ImageFilter

    blur = ImageFilter.GaussianBlur(sigma)
    if pixels.shape[2] == 3:  # the same, in half the time
        return np.array(Image.fromarray(np.ascontiguousarray(pixels)).filter(blur))
    planes = (np.ascontiguousarray(plane) for plane in np.moveaxis(pixels, 2, 0))
    return np.stack([np.asarray(Image.fromarray(plane).filter(blur)) for plane in planes], axis=2)
