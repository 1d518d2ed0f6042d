"""A loader whose images are resized on the training device, to a size that depends on the epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor
from torch.nn import functional

from ast_experiments.core.batch import Batch
from ast_experiments.data.loaders.base import Loader, PlannedBatches


def resized(images: Tensor, size: int) -> Tensor:
    """Resizes square images (n, c, h, w) to `size` pixels: bilinear, with antialiasing."""
    if size == images.shape[-1] or not len(images):
        return images if size == images.shape[-1] else images.new_empty((0, images.shape[1], size, size))
    return functional.interpolate(images, size=(size, size), mode="bilinear", antialias=True)


class ResizedLoader:
    """Resizes what another loader makes, after augmentation and normalisation.

    Args:
        loader: Makes the images at full size.
        sizes: Height and width in pixels by epoch; later epochs have the last size.
    """

    def __init__(self, loader: Loader, sizes: Sequence[int]) -> None:
        self._loader, self._sizes = loader, sizes

    def __len__(self) -> int:
        return len(self._loader)

    def batches(self, planned: PlannedBatches, epoch: int) -> Iterator[Batch]:
        """Yields the batches of an epoch in order; see `Loader.batches`."""
        return (self._resized(batch, epoch) for batch in self._loader.batches(planned, epoch))

    def fetch(self, ids: Tensor | np.ndarray, epoch: int, visits: np.ndarray | None = None) -> Batch:
        """Makes a batch from its ids with the augmentation and at the size of `epoch`."""
        return self._resized(self._loader.fetch(ids, epoch, visits), epoch)

    def close(self) -> None:
        """Stops worker processes; a later epoch starts them again."""
        self._loader.close()

    def _resized(self, batch: Batch, epoch: int) -> Batch:
        return replace(batch, images=resized(batch.images, self._sizes[min(epoch, len(self._sizes) - 1)]))
