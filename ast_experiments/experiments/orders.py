"""What worker processes have in common: they read orders from their standard input and reply with lines of JSON.

When the input ends during a run, because the command that gave the order was killed, the run is saved and the process
ends.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from ast_experiments.core.errors import Interrupted, UserError
from ast_experiments.core.files import exclusive_lock

LOCK = ".worker-{number}.lock"
"""Held by a worker as long as it lives, so that the next command can wait for it."""

Handler = Callable[[dict[str, Any]], Mapping[str, Any]]


def serve(make: Callable[[Path], Handler]) -> None:
    """Carries out orders until the input ends or a signal comes: the program of a worker.

    The arguments of the process are a directory, the worker's number and the file descriptor of its replies.

    Args:
        make: Given the directory, returns what carries out an order and returns the reply.
    """
    folder, number, replies = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    with (
        exclusive_lock(folder / LOCK.format(number=number), wait=True),
        suppress(KeyboardInterrupt, BrokenPipeError),  # stopped while idle; nobody is left to reply to
    ):
        _carry_out(Orders(sys.stdin), make(folder), replies)


def _carry_out(orders: Orders, handle: Handler, replies: int) -> None:
    _reply(replies, ready=True)
    for order in orders:
        try:
            _reply(replies, **handle(order))
        except (Interrupted, KeyboardInterrupt) as stopped:
            _reply(replies, interrupted=str(stopped).partition(";")[0] or "stopped")
            return
        except UserError as error:  # this process can make no other run
            _reply(replies, error=str(error))
            return
        orders.idle()


class Orders:
    """Iterates over the lines of JSON that arrive; a thread reads them, to notice when the input ends.

    Args:
        stream: The input.
    """

    def __init__(self, stream: TextIO) -> None:
        self._waiting: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._busy = threading.Event()
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while (order := self._waiting.get()) is not None:
            yield order

    def idle(self) -> None:
        """Says that the last order was carried out."""
        self._busy.clear()

    def _read(self, stream: TextIO) -> None:
        for line in stream:
            self._busy.set()
            self._waiting.put(json.loads(line))
        self._waiting.put(None)
        if self._busy.is_set():
            os.kill(os.getpid(), signal.SIGTERM)


def _reply(replies: int, **facts: Any) -> None:
    os.write(replies, (json.dumps(facts) + "\n").encode())
