"""Worker processes of a loader: start, signals, priority and end."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

PREFETCH = 4
"""Requests that each worker answers ahead; this many batches if each batch has a chunk for every worker."""

SIGNALS = {
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
}
CAN_MASK = hasattr(signal, "pthread_sigmask")  # not on Windows, which has no SIGTERM either
GRACE_S = 30
"""Seconds that a worker continues after SIGTERM, so that the main process can finish its step."""

NICENESS = 10
"""Nice value that workers add to their own when they feed a GPU."""


class WorkerPool:
    """Answers requests in order, in worker processes or, without any, in this process.

    The workers start with the first requests and stay until `close`. The pool serves one list of requests at a time.

    Args:
        answer: Indexed with a request, returns the answer.
        workers: Worker processes; 0 answers in this process.
        feeds_gpu: Whether answers are copied to a GPU: they are then put into pinned memory, and workers lower their
            priority.
    """

    def __init__(self, answer: Dataset[Any], workers: int, *, feeds_gpu: bool) -> None:
        self.workers = workers
        self._answer, self._feeds_gpu = answer, feeds_gpu
        self._requests = _Requests()
        self._turn = 0
        self._loader: DataLoader[Any] | None = None
        self._iterator: Any = None

    def answers(self, requests: list[Any]) -> Iterator[Any]:
        """Yields the answer to each request.

        Raises:
            RuntimeError: If another list of requests was begun meanwhile.
        """
        self._turn += 1
        turn = self._turn
        self._requests.pending = requests
        starting = self._loader is None
        if self._loader is None:
            self._loader = self._make_loader()
        with fork_safe() if starting and self.workers else nullcontext():
            self._iterator = iterator = iter(self._loader)
        for answer in iterator:
            yield answer
            if turn != self._turn:
                raise RuntimeError("a HostLoader serves one epoch at a time, and a later one has begun")

    def close(self) -> None:
        """Stops the workers now; otherwise the end of the process would wait for one after the other."""
        iterator, self._loader, self._iterator = self._iterator, None, None
        if iterator is not None and self.workers:
            iterator._shutdown_workers()

    def _make_loader(self) -> DataLoader[Any]:
        return DataLoader(
            self._answer,
            batch_size=None,  # one request is a whole chunk of a batch
            sampler=self._requests,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            prefetch_factor=PREFETCH if self.workers else None,
            pin_memory=self._feeds_gpu,
            worker_init_fn=partial(worker_init, lower_priority=self._feeds_gpu),
            generator=torch.Generator(),  # otherwise each epoch would draw from the global stream
        )


class _Requests(Sampler[Any]):
    """The requests of the coming epoch, in order; replaced between epochs while the workers stay."""

    def __init__(self) -> None:
        self.pending: list[Any] = []

    def __iter__(self) -> Iterator[Any]:
        return iter(self.pending)

    def __len__(self) -> int:
        return len(self.pending)


@contextmanager
def fork_safe() -> Iterator[None]:
    """Freezes garbage collection and blocks signals while worker processes are forked.

    A forked process must not free objects of its parent that own threads, such as an AVIF decoder: they would wait for
    threads that the fork does not have. Memory that no collector touches also stays shared. Blocked signals wait until
    `worker_init` has set the handlers of the worker.
    """
    gc.collect()
    gc.freeze()
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS) if CAN_MASK else None
    try:
        yield
    finally:
        gc.unfreeze()
        if masked is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, masked)


def worker_init(worker: int, *, lower_priority: bool) -> None:
    """Makes a worker leave signals to the main process, which stops its workers itself.

    Ctrl-C and batch systems signal all processes of a job. A worker ignores these signals, except that SIGTERM ends it
    after `GRACE_S` seconds, because torch sends SIGTERM to a worker that does not end by itself. When the main process
    is killed, its workers end without a word.

    Args:
        worker: Number of the worker.
        lower_priority: Whether to run after other processes: a GPU waits while the process that feeds it waits.
    """
    del worker
    for number in SIGNALS - {signal.SIGTERM}:
        signal.signal(number, signal.SIG_IGN)
    if CAN_MASK:
        signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(GRACE_S))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    sys.excepthook = show_error
    if lower_priority and hasattr(os, "nice"):
        os.nice(NICENESS)


def show_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Shows an error of a thread of a worker, unless it is that the main process, which it answers to, has gone."""
    if not issubclass(kind, ConnectionError | EOFError):
        sys.__excepthook__(kind, error, trace)
