"""What a DataLoader needs: a dataset that returns ids, and a batch sampler that follows the plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.data import Dataset, IterableDataset, Sampler

from ast_experiments.core.errors import UserError


class WithIds(Dataset[tuple[int, Any]]):
    """A map-style dataset whose items come with their ids: `(id, item)`.

    Args:
        dataset: Any dataset with `__len__` and `__getitem__`.
        size: Number of samples that the selection was made for.

    Raises:
        UserError: If the dataset cannot be indexed, or has another number of samples.
    """

    def __init__(self, dataset: Any, size: int) -> None:
        if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__"):
            raise UserError(
                f"{type(dataset).__name__} cannot be indexed, so no sample of it can be skipped; "
                "pass a dataset with __len__ and __getitem__"
            )
        self.dataset, self._size = dataset, size
        self.check()

    def check(self) -> None:
        """Refuses a dataset whose length has changed.

        Raises:
            UserError: If it has.
        """
        if len(self.dataset) != self._size:
            raise UserError(
                f"the dataset has {len(self.dataset)} samples, but the selection was made for {self._size}; "
                f"type select(..., dataset_size={len(self.dataset)})"
            )

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> tuple[int, Any]:
        return index, self.dataset[index]

    def __getitems__(self, indices: list[int]) -> list[tuple[int, Any]]:
        """Returns the samples of a batch; a DataLoader prefers this. Uses the dataset's own `__getitems__` if any."""
        fetch = getattr(self.dataset, "__getitems__", None)
        items = [self.dataset[index] for index in indices] if fetch is None else fetch(indices)
        return [*zip(indices, items, strict=True)]


class PlannedBatches(Sampler[list[int]]):
    """The batches of the current epoch's plan, as lists of ids; give it to `DataLoader(batch_sampler=...)`.

    Args:
        batches: Returns the batches that are still to come, of this rank.
        count: Returns how many batches the current plan has.
    """

    def __init__(self, batches: Callable[[], Iterator[list[int]]], count: Callable[[], int]) -> None:
        self._batches, self._count = batches, count

    def __iter__(self) -> Iterator[list[int]]:
        return self._batches()

    def __len__(self) -> int:
        return self._count()
