"""The ledger: rows and seconds by phase. Every cost is charged to a phase."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from ast_experiments.core import distributed

PHASES = ("setup", "plan", "data_wait", "score", "train", "val", "checkpoint")
COUNTED = ("score", "train", "val")


class Ledger:
    """Counts rows, and seconds of the phase that the run is in.

    Phases exclude one another: entering one suspends the one around it, so the seconds add up to the run's wall
    time. On CUDA the host runs ahead of the device; scoring is therefore timed by events, which `settle` reads.

    Attributes:
        trained: Rows that were back-propagated.
        offered: Rows that a method chose from.
        seconds: Seconds by phase; `score` holds scoring passes and side networks.
        own: Rows scored, and FLOPs by phase, of this rank.
    """

    def __init__(self, device: torch.device) -> None:
        self.trained = self.offered = 0
        self.seconds: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        self.own: dict[str, int] = dict.fromkeys(("scored", *COUNTED), 0)
        self._all = self.own
        self._events: list[tuple[Any, Any]] = []
        self._host_score = 0.0
        self._cuda = device.type == "cuda"
        self._phase, self._since = "setup", time.perf_counter()

    def charge_score(self, rows: int, each: int, more: int = 0) -> None:
        """Charge a scoring pass of `rows` rows at `each` FLOPs a row, and `more` FLOPs beside it."""
        self.own["scored"] += rows
        self.own["score"] += rows * each + more

    def charge(self, phase: str, flops: int) -> None:
        """Charge FLOPs to `train` or `val`."""
        self.own[phase] += flops

    def meet(self) -> None:
        """Add up what the ranks counted; `scored` and `flops` are of the last time they met."""
        if distributed.size() > 1:
            sums = distributed.all_reduce_sum(torch.tensor(list(self.own.values()), dtype=torch.float64)).tolist()
            self._all = {key: int(value) for key, value in zip(self.own, sums, strict=True)}

    @property
    def scored(self) -> int:
        """Rows that went through a scoring pass, on all ranks."""
        return self._all["scored"]

    @property
    def flops(self) -> dict[str, int]:
        """FLOPs by `score`, `train` and `val`, on all ranks."""
        return {phase: self._all[phase] for phase in COUNTED}

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
        """Rows and seconds; what ranks count for themselves is in `own`."""
        return {"trained": self.trained, "offered": self.offered, "seconds": self.now()}

    def load_state_dict(self, state: Mapping[str, Any], own: Mapping[str, int]) -> None:
        """Restore rows and this rank's counts, and add the seconds of what ran before. All ranks do it together."""
        self.trained, self.offered = state["trained"], state["offered"]
        self.own.update(own)
        self.meet()
        for phase, seconds in state["seconds"].items():
            self.seconds[phase] += seconds
