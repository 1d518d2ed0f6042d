"""The loader interface: an epoch's batches of sample ids in, batches of images on the training device out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ast_experiments.core.batch import Batch


@dataclass(frozen=True, eq=False)
class PlannedBatches:
    """The rows of an epoch, cut into batches.

    Attributes:
        ids: Sample ids in their order, int64, shape (m,).
        batch_size: Rows of a batch.
        weights: Loss weights aligned with `ids`, shape (m,); None for all ones.
        start: Index of the first batch to load; a resumed epoch continues there with the very same batches.
        keep_short: Whether a last batch of fewer rows is loaded too.
        visits: Earlier epochs that trained each of the `ids`, shape (m,); None for every earlier epoch.

    Raises:
        ValueError: If the values do not fit each other.
    """

    ids: np.ndarray
    batch_size: int
    weights: np.ndarray | None = None
    start: int = 0
    keep_short: bool = False
    visits: np.ndarray | None = None

    def __post_init__(self) -> None:
        ids, weights = self.ids, self.weights
        if ids.dtype != np.int64 or ids.ndim != 1:
            raise ValueError(f"ids must be int64 of shape (m,), not {ids.dtype} {ids.shape}")
        for name, column in (("weights", weights), ("visits", self.visits)):
            if column is not None and column.shape != ids.shape:
                raise ValueError(f"{name} must have the shape of ids, {ids.shape}, not {column.shape}")
        if self.batch_size < 1 or self.start < 0:
            raise ValueError(
                f"batch_size must be 1 or more and start 0 or more, not {self.batch_size} and {self.start}"
            )

    @property
    def slices(self) -> list[slice]:
        """The rows of each batch, from `start` on."""
        rows, size = len(self.ids), self.batch_size
        end = rows if self.keep_short else rows - rows % size
        return [slice(at, min(at + size, end)) for at in range(self.start * size, end, size)]

    def check_ids(self, samples: int) -> None:
        """Checks that all ids are those of `samples` samples.

        Raises:
            IndexError: If one is not.
        """
        if len(self.ids) and not 0 <= self.ids.min() <= self.ids.max() < samples:
            raise IndexError(f"ids run from {self.ids.min()} to {self.ids.max()}, but there are {samples} rows")

    def weights_on(self, device: torch.device) -> Tensor | None:
        """Copies the loss weights to a device, as float32."""
        if self.weights is None:
            return None
        return torch.from_numpy(np.array(self.weights, np.float32)).to(device)


class Loader(Protocol):
    """Makes batches from sample ids. An image depends on (seed, epoch, id) alone, an alternating flip on visits."""

    def __len__(self) -> int:
        """Returns the number of samples."""
        ...

    def batches(self, planned: PlannedBatches, epoch: int) -> Iterator[Batch]:
        """Yields the batches of an epoch in order.

        Args:
            planned: Rows and how they are cut into batches.
            epoch: Epoch; the augmentation depends on it.

        Raises:
            IndexError: If an id is not a row.
        """
        ...

    def fetch(self, ids: Tensor | np.ndarray, epoch: int, visits: np.ndarray | None = None) -> Batch:
        """Makes a batch from its ids, int64, shape (n,), with the augmentation of `epoch`.

        Args:
            ids: Sample ids, int64, shape (n,).
            epoch: Epoch.
            visits: Earlier epochs that trained each of them, shape (n,); None for every earlier epoch.
        """
        ...

    def close(self) -> None:
        """Stops worker processes; a later epoch starts them again."""
        ...


def visits_on(device: torch.device | str, visits: np.ndarray | None) -> Tensor | None:
    """Copies visits (n,) to a device, as int64; None stays None."""
    return None if visits is None else torch.from_numpy(visits.astype(np.int64)).to(device)


def to_tensor(array: np.ndarray) -> Tensor:
    """Makes a tensor that shares the array's memory if the array is contiguous and writable, otherwise a copy."""
    array = np.ascontiguousarray(array)
    return torch.from_numpy(array if array.flags.writeable else array.copy())
