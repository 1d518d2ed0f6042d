"""A loader that keeps all images on the training device and makes batches there, without workers or waiting."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Unpack

import numpy as np
import torch
from torch import Tensor

from ast_experiments.core.batch import Batch
from ast_experiments.data.dataset import Samples
from ast_experiments.data.loaders.base import PlannedBatches, to_tensor, visits_on
from ast_experiments.data.loaders.normalise import NormaliseAndErase, Preparation
from ast_experiments.data.loaders.transforms import device_transform


class DeviceLoader:
    """Makes batches from images on the training device; of encoded images, their decoded table.

    Args:
        samples: Samples that the ids refer to.
        device: The training device.
        how: As in `Preparation`.
    """

    def __init__(self, samples: Samples, device: torch.device | str, **how: Unpack[Preparation]) -> None:
        self.device = torch.device(device)
        self._transform = device_transform(samples, how["transform"], how["seed"], self.device)
        self._labels = to_tensor(samples.labels).to(self.device)
        self._finish = NormaliseAndErase(samples.shape, self.device, **how)

    def __len__(self) -> int:
        return len(self._labels)

    def batches(self, planned: PlannedBatches, epoch: int) -> Iterator[Batch]:
        """Yields the batches of an epoch in order; see `Loader.batches`."""
        planned.check_ids(len(self))
        return self._batches(planned, epoch)

    def fetch(self, ids: Tensor | np.ndarray, epoch: int, visits: np.ndarray | None = None) -> Batch:
        """Makes a batch from its ids with the augmentation of `epoch`; ids on the device stay there."""
        rows = (ids if isinstance(ids, Tensor) else to_tensor(ids)).to(self.device)
        images = self._finish(self._transform(rows, epoch, visits_on(self.device, visits)), rows, epoch)
        return Batch(rows, images, self._labels.index_select(0, rows))

    def close(self) -> None:
        """Does nothing: there are no workers."""

    def _batches(self, planned: PlannedBatches, epoch: int) -> Iterator[Batch]:
        # For the whole epoch at once: a copy per batch would make the host wait for the device, and drawing and
        # looking up per batch would take as long as the step of a small network.
        ids, weights = to_tensor(planned.ids).to(self.device), planned.weights_on(self.device)
        labels, drawn = (
            self._labels.index_select(0, ids),
            self._transform.plan(ids, epoch, visits_on(self.device, planned.visits)),
        )
        for part in planned.slices:
            rows = ids[part]
            images = self._finish(self._transform.apply(*(each[part] for each in drawn)), rows, epoch)
            yield Batch(rows, images, labels[part], None if weights is None else weights[part])
