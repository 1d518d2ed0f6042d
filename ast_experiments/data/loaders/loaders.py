"""From sample ids to batches: from a table on the device or by workers on the host, the same pictures."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ast_experiments.core.batch import Batch
from ast_experiments.core.errors import DataError
from ast_experiments.data.dataset import Images
from ast_experiments.data.encoded.images import Photos
from ast_experiments.data.encoded.transforms import View
from ast_experiments.data.in_memory.augment import Augment
from ast_experiments.data.loaders.placement import Finish, device_maker, host_maker, keep_on_device, to_tensor

LEAST_PIECE = 32
"""Rows that are worth a request of their own to a worker."""

PREFETCH = 4
"""Pieces that each worker makes ahead; as many batches where each has a piece of all batches."""

SIGNALS = {getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)}
MASKS = hasattr(signal, "pthread_sigmask")  # not on Windows, where SIGTERM is no signal either
GRACE_S = 30
"""How long a worker goes on after SIGTERM: until the main process has finished its step."""

NICENESS = 10
"""How far workers stand back behind the process that feeds a GPU."""


class Loader(Protocol):
    """Makes batches from ids. What a row looks like depends on (seed, epoch, id) alone."""

    def batches(
        self,
        ids: np.ndarray,
        batch_size: int,
        epoch: int,
        *,
        weights: np.ndarray | None = None,
        start: int = 0,
        keep_short: bool = False,
    ) -> Iterator[Batch]:
        """Yields the rows of an epoch in order.

        Args:
            ids: Rows to load, int64, shape (m,).
            batch_size: Rows of a batch.
            epoch: Epoch; the augmentation depends on it.
            weights: Loss weights aligned with `ids`, shape (m,); None for all ones.
            start: Index of the first batch, so that a resumed epoch goes on with the very same batches.
            keep_short: Whether a last batch of fewer rows is yielded too.

        Raises:
            ValueError: When the arguments do not fit each other.
            IndexError: When an id is not a row.
        """
        ...

    def fetch(self, ids: Tensor | np.ndarray, epoch: int) -> Batch:
        """Makes rows again from their ids, int64, shape (n,), as they looked in `epoch`."""
        ...

    def close(self) -> None:
        """Ends what works for it; an epoch that is asked for later begins it anew."""
        ...


def batch_slices(rows: int, batch_size: int, start: int = 0, keep_short: bool = False) -> list[slice]:
    """Cuts `rows` into batches and returns those from index `start` on.

    Raises:
        ValueError: When the batch size is not positive or `start` is negative.
    """
    if batch_size < 1 or start < 0:
        raise ValueError(f"batch_size must be 1 or more and start 0 or more, not {batch_size} and {start}")
    end = rows if keep_short else rows - rows % batch_size
    return [slice(at, min(at + batch_size, end)) for at in range(start * batch_size, end, batch_size)]


class DeviceLoader:
    """Keeps all images on the training device and makes batches there; neither workers nor waiting.

    Args:
        images: What the ids are rows of; of photographs, their table.
        device: The training device.
        augment: How pictures vary; `Augment()` or a `CentreCrop` for validation.
        mean: Mean of each channel, pixels in 0..1.
        std: Standard deviation of each channel.
        seed: Of the augmentation.
    """

    def __init__(
        self,
        images: Images | Photos,
        device: torch.device | str,
        *,
        augment: Augment | View,
        mean: Sequence[float],
        std: Sequence[float],
        seed: int,
    ) -> None:
        self.device = torch.device(device)
        self._maker = device_maker(images, augment, seed, self.device)
        self._labels = to_tensor(images.labels).to(self.device)
        self._finish = Finish(images, mean, std, augment, seed, self.device)

    def __len__(self) -> int:
        return len(self._labels)

    def batches(
        self,
        ids: np.ndarray,
        batch_size: int,
        epoch: int,
        *,
        weights: np.ndarray | None = None,
        start: int = 0,
        keep_short: bool = False,
    ) -> Iterator[Batch]:
        """Yields the rows of an epoch in order; see `Loader.batches`."""
        _check(ids, weights, len(self))
        parts = batch_slices(len(ids), batch_size, start, keep_short)
        return self._batches(ids, weights, parts, epoch)

    def fetch(self, ids: Tensor | np.ndarray, epoch: int) -> Batch:
        """Makes rows again from their ids as they looked in `epoch`; ids on the device stay there."""
        rows = (ids if isinstance(ids, Tensor) else to_tensor(ids)).to(self.device)
        images = self._finish(self._maker(rows, epoch), rows, epoch)
        return Batch(rows, images, self._labels.index_select(0, rows))

    def close(self) -> None:
        """Nothing to end."""

    def _batches(self, ids: np.ndarray, weights: np.ndarray | None, parts: list[slice], epoch: int) -> Iterator[Batch]:
        # For the whole epoch at once: a copy for each batch would make the host wait for the device, and drawing and
        # looking up for each batch takes a small network's time again.
        all_ids = to_tensor(ids).to(self.device)
        all_weights = None if weights is None else _weights(weights).to(self.device)
        all_labels, planned = self._labels.index_select(0, all_ids), self._maker.plan(all_ids, epoch)
        for part in parts:
            rows = all_ids[part]
            images = self._finish(self._maker.make(*(each[part] for each in planned)), rows, epoch)
            yield Batch(rows, images, all_labels[part], None if all_weights is None else all_weights[part])


class HostLoader:
    """Keeps images in host memory, or reads photographs; workers make pictures, the training device normalises.

    The workers live as long as the loader and serve one epoch at a time.

    Args:
        images: What the ids are rows of.
        device: The training device.
        augment: How pictures vary; `Augment()` or a `CentreCrop` for validation.
        mean: Mean of each channel, pixels in 0..1.
        std: Standard deviation of each channel.
        seed: Of the augmentation.
        workers: Processes that make pictures ahead; 0 makes them when they are asked for.
    """

    def __init__(
        self,
        images: Images | Photos,
        device: torch.device | str,
        *,
        augment: Augment | View,
        mean: Sequence[float],
        std: Sequence[float],
        seed: int,
        workers: int = 0,
    ) -> None:
        self.device = torch.device(device)
        self._pictures, self._labels = _Pictures(images, augment, seed), to_tensor(images.labels)
        self._finish = Finish(images, mean, std, augment, seed, self.device)
        self._requests = _Requests()
        self._turn = 0
        self._loader = DataLoader(
            self._pictures,
            batch_size=None,  # a request is a whole piece of a batch
            sampler=self._requests,
            num_workers=workers,
            persistent_workers=workers > 0,
            prefetch_factor=PREFETCH if workers else None,
            pin_memory=self.device.type == "cuda",
            worker_init_fn=partial(_begin, yielding=self.device.type == "cuda"),
            generator=torch.Generator(),  # or each epoch would take a number from the global stream
        )

    def __len__(self) -> int:
        return len(self._pictures)

    def batches(
        self,
        ids: np.ndarray,
        batch_size: int,
        epoch: int,
        *,
        weights: np.ndarray | None = None,
        start: int = 0,
        keep_short: bool = False,
    ) -> Iterator[Batch]:
        """Yields the rows of an epoch in order; see `Loader.batches`.

        Raises:
            RuntimeError: When an earlier epoch is read on after a later one has begun.
        """
        _check(ids, weights, len(self))
        parts = batch_slices(len(ids), batch_size, start, keep_short)
        return self._batches(ids, weights, parts, epoch)

    def fetch(self, ids: Tensor | np.ndarray, epoch: int) -> Batch:
        """Makes rows again from their ids as they looked in `epoch`, in this process.

        Ids on another device are waited for.
        """
        rows = ids.cpu().numpy() if isinstance(ids, Tensor) else ids
        return self._batch(rows, [self._pictures[epoch, rows]], epoch, None)

    def close(self) -> None:
        """Ends the workers, which would otherwise be waited for, one after the other, when the process ends."""
        started, self._loader._iterator = self._loader._iterator, None
        if started is not None and self._loader.num_workers:
            started._shutdown_workers()  # pyright: ignore[reportAttributeAccessIssue]

    def _batches(self, ids: np.ndarray, weights: np.ndarray | None, parts: list[slice], epoch: int) -> Iterator[Batch]:
        all_weights = None if weights is None else _weights(weights).to(self.device)
        self._turn += 1
        turn = self._turn
        pieces = [self._split(part) for part in parts]
        self._requests.batches = [(epoch, ids[piece]) for batch in pieces for piece in batch]
        starting = self._loader.num_workers > 0 and self._loader._iterator is None
        with _left_alone() if starting else nullcontext():
            answers = iter(self._loader)
        for part, batch in zip(parts, pieces, strict=True):
            made = [next(answers) for _ in batch]
            yield self._batch(ids[part], made, epoch, None if all_weights is None else all_weights[part])
            if turn != self._turn:
                raise RuntimeError("a HostLoader serves one epoch at a time, and a later one has begun")
        for _ in answers:
            raise RuntimeError("a worker answered twice")

    def _split(self, batch: slice) -> list[slice]:
        """The pieces of a batch that workers make beside each other: an epoch begins as soon as all have made one."""
        rows = batch.stop - batch.start
        count = max(1, min(self._loader.num_workers, rows // LEAST_PIECE))
        bounds = [batch.start + rows * piece // count for piece in range(count + 1)]
        return [slice(*pair) for pair in pairwise(bounds)]

    def _batch(self, ids: np.ndarray, made: Sequence[Tensor | DataError], epoch: int, weights: Tensor | None) -> Batch:
        """A batch on the training device, of its pictures in pieces."""
        pieces = []
        for piece in made:
            if isinstance(piece, DataError):
                raise piece
            pieces.append(piece.to(self.device, non_blocking=True))
        pictures = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
        rows = to_tensor(ids)
        labels = self._labels.index_select(0, rows).to(self.device, non_blocking=True)
        rows = rows.to(self.device, non_blocking=True)
        return Batch(rows, self._finish(pictures, rows, epoch), labels, weights)


def build_loader(
    images: Images | Photos,
    *,
    device: torch.device | str,
    augment: Augment | View,
    mean: Sequence[float],
    std: Sequence[float],
    seed: int,
    on_device: bool | None = None,
    workers: int = 0,
) -> DeviceLoader | HostLoader:
    """Chooses where the images are kept.

    Args:
        images: What the ids are rows of.
        device: The training device.
        augment: How pictures vary.
        mean: Mean of each channel, pixels in 0..1.
        std: Standard deviation of each channel.
        seed: Of the augmentation.
        on_device: Whether to keep them on the training device; None decides, see `keep_on_device`.
        workers: Worker processes, where they are kept on the host.

    Raises:
        ConfigError: When they are wanted on a device and cannot be kept there.
    """
    target = torch.device(device)
    if keep_on_device(images, augment, target, on_device):
        return DeviceLoader(images, target, augment=augment, mean=mean, std=std, seed=seed)
    return HostLoader(images, target, augment=augment, mean=mean, std=std, seed=seed, workers=workers)


class _Pictures(Dataset[Any]):
    """Answers a request (epoch, ids) with pictures: ids and labels need not travel."""

    def __init__(self, images: Images | Photos, augment: Augment | View, seed: int) -> None:
        self._rows = len(images)
        self._make = host_maker(images, augment, seed)

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, request: tuple[int, np.ndarray]) -> Tensor | DataError:
        epoch, ids = request
        try:
            return self._make(ids=to_tensor(ids), epoch=epoch)
        except DataError as error:  # raised in a worker, it would arrive wrapped in a traceback
            return error


class _Requests(Sampler[Any]):
    """The requests of the coming epoch, in order; replaced between epochs while the workers stay."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, np.ndarray]] = []

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


@contextmanager
def _left_alone() -> Iterator[None]:
    """While inside, processes that are forked never collect objects of this one, and signals wait for `_begin`.

    What holds threads, such as a decoder of AVIF, waits for them when it is freed, and a fork has none of them.
    Besides, memory that no collector touches stays shared.
    """
    gc.collect()
    gc.freeze()
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS) if MASKS else None
    try:
        yield
    finally:
        gc.unfreeze()
        if masked is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, masked)


def _begin(worker: int, *, yielding: bool) -> None:
    """Leaves signals to the main process, which ends the workers when it is done with them.

    Ctrl-C and batch systems signal all processes of a job. SIGTERM is also what ends a worker that does not end by
    itself, so it does, some time later.

    Args:
        worker: Its number.
        yielding: Whether to let other processes go first: a GPU waits when the one that feeds it does.
    """
    del worker
    for number in SIGNALS - {signal.SIGTERM}:
        signal.signal(number, signal.SIG_IGN)
    if MASKS:
        signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(GRACE_S))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    if yielding and hasattr(os, "nice"):
        os.nice(NICENESS)


def _check(ids: np.ndarray, weights: np.ndarray | None, rows: int) -> None:
    if ids.dtype != np.int64 or ids.ndim != 1:
        raise ValueError(f"ids must be int64 of shape (m,), not {ids.dtype} {ids.shape}")
    if weights is not None and weights.shape != ids.shape:
        raise ValueError(f"weights must have the shape of ids, {ids.shape}, not {weights.shape}")
    if len(ids) and not 0 <= ids.min() <= ids.max() < rows:
        raise IndexError(f"ids run from {ids.min()} to {ids.max()}, but there are {rows} rows")


def _weights(weights: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(weights, np.float32))
