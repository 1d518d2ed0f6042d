"""The ledger: rows and seconds by phase. Every cost is charged to a phase."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

PHASES = ("setup", "plan", "data_wait", "score", "train", "val", "checkpoint")


class Ledger:
    """Counts rows, and seconds of the phase that the run is in.

    Phases exclude one another: entering one suspends the one around it, so the seconds add up to the run's wall
    time. On CUDA the host runs ahead of the device; scoring is therefore timed by events, which `settle` reads.

    Attributes:
        trained: Rows that were back-propagated.
        scored: Rows that went through a scoring pass.
        offered: Rows that a method chose from.
        seconds: Seconds by phase.
    """

    def __init__(self, device: torch.device) -> None:
        self.trained = self.scored = self.offered = 0
        self.seconds: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        self._events: list[tuple[Any, Any]] = []
        self._host_score = 0.0
        self._cuda = device.type == "cuda"
        self._phase, self._since = "setup", time.perf_counter()

    def _enter(self, phase: str) -> str:
        now = time.perf_counter()
        previous = self._phase
        self.seconds[previous] += now - self._since
        self._phase, self._since = phase, now
        return previous

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Charge the seconds within to a phase of `PHASES`."""
        begin = self._mark() if self._cuda and name == "score" else None
        previous = self._enter(name)
        since = self._since
        try:
            yield
        finally:
            self._enter(previous)
            if begin is not None:
                self._events.append((begin, self._mark()))
                self._host_score += self._since - since

    def _mark(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def settle(self) -> None:
        """Wait for the device and move its scoring time from `train`, where the host waited for it, to `score`."""
        if not self._cuda:
            return
        torch.cuda.synchronize()
        on_device = sum(begin.elapsed_time(end) for begin, end in self._events) / 1000
        self._enter(self._phase)
        moved = min(on_device - self._host_score, self.seconds["train"])
        self.seconds["score"] += moved
        self.seconds["train"] -= moved
        self._events.clear()
        self._host_score = 0.0

    def now(self) -> dict[str, float]:
        """Seconds by phase up to this moment."""
        self._enter(self._phase)
        return dict(self.seconds)

    def state_dict(self) -> dict[str, Any]:
        """Rows and seconds."""
        return {
            "trained": self.trained,
            "scored": self.scored,
            "offered": self.offered,
            "seconds": self.now(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore rows, and add the seconds of what ran before."""
        self.trained, self.scored, self.offered = state["trained"], state["scored"], state["offered"]
        for phase, seconds in state["seconds"].items():
            self.seconds[phase] += seconds
