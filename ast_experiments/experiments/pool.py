"""Worker processes that make runs of a study or a search on this machine, several at once."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Hashable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from ast_experiments.core import process
from ast_experiments.core.errors import UserError
from ast_experiments.core.files import exclusive_lock
from ast_experiments.experiments.orders import LOCK

Run = TypeVar("Run", bound=Hashable)


@dataclass(slots=True)
class Worker(Generic[Run]):
    """A worker process.

    Attributes:
        number: Names its lock.
        process: The process; its standard input takes the orders.
        replies: Where it writes its replies: a file descriptor.
        run: What it runs; None while it is idle.
        begun: When that run was ordered.
        ready: Whether it can be stopped by a signal without a traceback.
        rest: The beginning of a reply that has not arrived wholly.
    """

    number: int
    process: subprocess.Popen[str]
    replies: int
    run: Run | None = None
    begun: float = field(default_factory=time.monotonic)
    ready: bool = False
    rest: bytes = b""


@dataclass(frozen=True, slots=True)
class Ended(Generic[Run]):
    """How a run ended.

    Attributes:
        run: The run.
        seconds: Wall time.
        error: Why it failed, in one line.
        interrupted: Why it was stopped; everything is saved.
    """

    run: Run
    seconds: float
    error: str | None = None
    interrupted: str | None = None


class Pool(Generic[Run]):
    """Up to `size` workers, started when they are needed. A worker that dies fails its run and is replaced.

    Args:
        folder: Directory of the study or search.
        size: Runs at once.
        module: Program of the workers; see `orders.serve`.
    """

    def __init__(self, folder: Path, size: int, module: str) -> None:
        self._folder, self._size, self._module = folder, size, module
        self._workers: dict[int, Worker[Run]] = {}
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Pool[Run]:
        return self

    def __exit__(self, *raised: object) -> None:
        for worker in list(self._workers.values()):
            self._end(worker)
        self._selector.close()

    @property
    def running(self) -> list[Run]:
        """The runs that go on."""
        return [worker.run for worker in self._workers.values() if worker.run is not None]

    @property
    def free(self) -> int:
        """How many more runs may start."""
        return self._size - len(self.running)

    def start(self, run: Run, order: dict[str, Any]) -> None:
        """Gives a run to a worker that is idle, or to a new one, as an order that JSON can hold."""
        worker = next((each for each in self._workers.values() if each.run is None), None) or self._new()
        worker.run, worker.begun = run, time.monotonic()
        assert worker.process.stdin is not None
        with suppress(BrokenPipeError):  # it has died: `wait` says so
            worker.process.stdin.write(json.dumps(order) + "\n")
            worker.process.stdin.flush()

    def wait(self, seconds: float) -> Iterator[Ended[Run]]:
        """Waits for replies; yields the runs that have ended since.

        Args:
            seconds: Longest time to wait.
        """
        for key, _ in self._selector.select(seconds):
            worker: Worker[Run] = key.data
            read = os.read(worker.replies, 65536)
            *lines, worker.rest = (worker.rest + read).split(b"\n")
            for line in lines:
                yield from _ended(worker, json.loads(line))
            if not read:
                yield from self._died(worker)

    def interrupt(self) -> None:
        """Asks every worker to save its run and to end."""
        for worker in list(self._workers.values()):
            if worker.run is not None and worker.ready:
                worker.process.send_signal(signal.SIGINT)
            else:
                worker.run = None
                self._end(worker)

    def _new(self) -> Worker[Run]:
        number = next(n for n in range(self._size) if n not in self._workers)
        replies, theirs = os.pipe()
        threads = str(max(1, len(_cores()) // self._size))
        environment = {"OMP_NUM_THREADS": threads, **os.environ, "AST_EXPERIMENTS_STARTED": str(process.STARTED)}
        # In a session of its own: Ctrl-C reaches only this process, which tells the workers.
        started = subprocess.Popen(
            [sys.executable, "-m", self._module, str(self._folder), str(number), str(theirs)],
            stdin=subprocess.PIPE,
            text=True,
            env=environment,
            pass_fds=(theirs,),
            start_new_session=True,
        )
        os.close(theirs)
        worker = self._workers[number] = Worker(number, started, replies)
        self._selector.register(replies, selectors.EVENT_READ, worker)
        return worker

    def _died(self, worker: Worker[Run]) -> Iterator[Ended[Run]]:
        code = worker.process.wait()
        self._end(worker)
        if worker.run is not None:
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            yield Ended(worker.run, time.monotonic() - worker.begun, f"its process {how}")

    def _end(self, worker: Worker[Run]) -> None:
        worker.process.kill()
        worker.process.wait()
        if worker.process.stdin is not None:
            with suppress(BrokenPipeError):  # an order that was not read
                worker.process.stdin.close()
        self._selector.unregister(worker.replies)
        os.close(worker.replies)
        del self._workers[worker.number]


def wait_for_workers(folder: Path) -> None:
    """Waits until the workers of a command that was killed have saved their runs."""
    for lock in sorted(folder.glob(LOCK.format(number="*"))):
        try:
            with exclusive_lock(lock):
                pass
        except UserError:
            print("waiting until the runs of an earlier command are saved", flush=True)
            with exclusive_lock(lock, wait=True):
                pass


def _ended(worker: Worker[Run], reply: dict[str, Any]) -> Iterator[Ended[Run]]:
    if reply.get("ready"):
        worker.ready = True
    elif worker.run is not None:
        run, worker.run = worker.run, None
        seconds = reply.get("seconds", time.monotonic() - worker.begun)
        yield Ended(run, seconds, reply.get("error"), reply.get("interrupted"))


def _cores() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
