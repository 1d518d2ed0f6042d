"""Runs the configs of a JSON file one after the other, under torchrun: (folder, overrides, step to stop at or null)."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from run_tools import run

from ast_experiments.core import distributed
from ast_experiments.core.errors import Interrupted
from ast_experiments.training import auto_batch, loop
from ast_experiments.training.loop import Trainer


def few(attempt: Callable[[int], None], most: int) -> int:
    """As if the devices had different room."""
    rows = min(most, 5 + distributed.rank())
    attempt(rows)
    return rows


def main() -> None:
    step = Trainer._step
    stop_at: list[int | None] = [None]

    def noisy(self: Trainer, *args: Any) -> None:
        # Only one rank gets the signal.
        if self.progress.step == stop_at[0] and distributed.rank() == 1:
            stop_at[0] = None
            os.kill(os.getpid(), signal.SIGTERM)
        step(self, *args)

    Trainer._step = noisy  # type: ignore[method-assign]
    loop.SYNC_EVERY = 2
    auto_batch.largest_that_fits = few
    for folder, overrides, stop in json.loads(Path(sys.argv[1]).read_text()):
        stop_at[0] = stop
        with suppress(Interrupted):
            run(Path(folder), overrides)


if __name__ == "__main__":
    main()
