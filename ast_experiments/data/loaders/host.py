"""A loader that makes images in host memory, usually in worker processes, and normalises on the training device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ast_experiments.core.batch import Batch
from ast_experiments.core.errors import DataError
from ast_experiments.data.dataset import Samples
from ast_experiments.data.loaders.base import PlannedBatches, to_tensor, visits_on
from ast_experiments.data.loaders.normalise import NormaliseAndErase, Preparation
from ast_experiments.data.loaders.transforms import Transform, host_transform
from ast_experiments.data.loaders.workers import WorkerPool

MIN_CHUNK = 32
"""Fewest rows that are worth a request of their own to a worker."""


class HostLoader:
    """Makes batches from images in host memory or from encoded images.

    The workers live as long as the loader and serve one epoch at a time.

    Args:
        samples: Samples that the ids refer to.
        device: The training device.
        workers: Processes that make images ahead; 0 makes each batch on demand in this process.
        how: As in `Preparation`.
    """

    def __init__(
        self, samples: Samples, device: torch.device | str, *, workers: int = 0, **how: Unpack[Preparation]
    ) -> None:
        self.device = torch.device(device)
        self._images = _TransformedImages(samples, how["transform"], how["seed"])
        self._labels = to_tensor(samples.labels)
        self._finish = NormaliseAndErase(samples.shape, self.device, **how)
        self._pool = WorkerPool(self._images, workers, feeds_gpu=self.device.type == "cuda")

    def __len__(self) -> int:
        return len(self._images)

    def batches(self, planned: PlannedBatches, epoch: int) -> Iterator[Batch]:
        """Yields the batches of an epoch in order; see `Loader.batches`.

        Raises:
            DataError: If an image cannot be read or decoded.
            RuntimeError: If an earlier epoch is continued after a later one has begun.
        """
        planned.check_ids(len(self))
        return self._batches(planned, epoch)

    def fetch(self, ids: Tensor | np.ndarray, epoch: int, visits: np.ndarray | None = None) -> Batch:
        """Makes a batch from its ids with the augmentation of `epoch`, in this process.

        Waits for the device if the ids are on a GPU.
        """
        rows = ids.cpu().numpy() if isinstance(ids, Tensor) else ids
        return self._batch(rows, [self._images[epoch, rows, visits]], epoch, None)

    def close(self) -> None:
        """Stops the worker processes; a later epoch starts new ones."""
        self._pool.close()

    def _batches(self, planned: PlannedBatches, epoch: int) -> Iterator[Batch]:
        ids, visits, weights = planned.ids, planned.visits, planned.weights_on(self.device)
        slices = planned.slices
        chunks = [self._split(part) for part in slices]
        requests = [(epoch, ids[chunk], None if visits is None else visits[chunk]) for b in chunks for chunk in b]
        answers = self._pool.answers(requests)
        for part, batch in zip(slices, chunks, strict=True):
            made = [next(answers) for _ in batch]
            yield self._batch(ids[part], made, epoch, None if weights is None else weights[part])
        for _ in answers:
            raise RuntimeError("a worker answered twice")

    def _split(self, batch: slice) -> list[slice]:
        """Cuts a batch into chunks for the workers: the first batch is ready when each has made one chunk."""
        rows = batch.stop - batch.start
        count = max(1, min(self._pool.workers, rows // MIN_CHUNK))
        bounds = [batch.start + rows * chunk // count for chunk in range(count + 1)]
        return [slice(*pair) for pair in pairwise(bounds)]

    def _batch(self, ids: np.ndarray, made: Sequence[Tensor | DataError], epoch: int, weights: Tensor | None) -> Batch:
        """Puts the chunks of a batch together on the training device."""
        chunks = []
        for chunk in made:
            if isinstance(chunk, DataError):
                raise chunk
            chunks.append(chunk.to(self.device, non_blocking=True))
        images = chunks[0] if len(chunks) == 1 else torch.cat(chunks)
        rows = to_tensor(ids)
        labels = self._labels.index_select(0, rows).to(self.device, non_blocking=True)
        rows = rows.to(self.device, non_blocking=True)
        return Batch(rows, self._finish(images, rows, epoch), labels, weights)


class _TransformedImages(Dataset[Any]):
    """Answers a request (epoch, ids, visits) with images alone; ids and labels need not travel between processes."""

    def __init__(self, samples: Samples, transform: Transform, seed: int) -> None:
        self._rows = len(samples)
        self._make = host_transform(samples, transform, seed)

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, request: tuple[int, np.ndarray, np.ndarray | None]) -> Tensor | DataError:
        epoch, ids, visits = request
        try:
            return self._make(ids=to_tensor(ids), epoch=epoch, visits=visits_on("cpu", visits))
        except DataError as error:  # raised in a worker, it would arrive wrapped in a traceback
            return error
