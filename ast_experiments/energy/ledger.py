"""The ledger of a run: rows, FLOPs and seconds by phase. Every cost is charged to a phase."""

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
    """Counts rows and FLOPs, and times the current phase.

    Phases exclude one another: entering one suspends the enclosing one, so the seconds add up to the run's wall
    time. On CUDA the host runs ahead of the device; scoring is therefore timed by CUDA events, which
    `resolve_gpu_timers` reads.

    Attributes:
        trained: Rows back-propagated.
        offered: Rows that the method chose from.
        offered_flops: FLOPs of training every offered row.
        seconds: Seconds by phase; `score` includes scoring passes and auxiliary models.
        own: Rows scored, and FLOPs by phase, on this rank.
    """

    def __init__(self, device: torch.device) -> None:
        self.trained = self.offered = self.offered_flops = 0
        self.seconds: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        self.own: dict[str, int] = dict.fromkeys(("scored", *COUNTED), 0)
        self._all = self.own
        self._events: list[tuple[Any, Any]] = []
        self._host_score = 0.0
        self._cuda = device.type == "cuda"
        self._phase, self._since = "setup", time.perf_counter()

    def offer(self, rows: int, flops_per_row: int) -> None:
        """Counts rows that the method chooses from, and the FLOPs of training them all."""
        self.offered += rows
        self.offered_flops += rows * flops_per_row

    def charge_score(self, rows: int, flops_per_row: int, extra_flops: int = 0) -> None:
        """Charges a scoring pass of `rows` rows."""
        self.own["scored"] += rows
        self.own["score"] += rows * flops_per_row + extra_flops

    def charge(self, phase: str, flops: int) -> None:
        """Charges FLOPs to `train` or `val`."""
        self.own[phase] += flops

    def all_reduce(self) -> None:
        """Sums the counts of all ranks; `scored` and `flops` date from the last call."""
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
        """Charges the seconds of a block to a phase of `PHASES`."""
        begin = self._record_event() if self._cuda and name == "score" else None
        previous = self._enter(name)
        since = self._since
        try:
            yield
        finally:
            self._enter(previous)
            if begin is not None:
                self._events.append((begin, self._record_event()))
                self._host_score += self._since - since

    def _record_event(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def resolve_gpu_timers(self) -> None:
        """Waits for the device, then moves the scoring time that the host spent waiting in `train` to `score`."""
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
        """Returns the seconds by phase up to now."""
        self._enter(self._phase)
        return dict(self.seconds)

    def row(self) -> dict[str, float]:
        """Returns entries of an epoch row: rows of the run so far, and seconds by phase."""
        seconds = self.now()
        return {
            "rows/trained": self.trained,
            "rows/scored": self.scored,
            "rows/offered": self.offered,
            **{f"time/{phase}_s": seconds[phase] for phase in ("train", "score", "data_wait", "val", "plan")},
        }

    def state_dict(self) -> dict[str, Any]:
        """Returns rows, seconds and this rank's counts."""
        counts = {key: getattr(self, key) for key in ("trained", "offered", "offered_flops")}
        return counts | {"seconds": self.now(), "own": dict(self.own)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores rows and counts, and add the seconds of earlier parts of the run. All ranks call it together."""
        self.trained, self.offered, self.offered_flops = (state[k] for k in ("trained", "offered", "offered_flops"))
        self.own.update(state["own"])
        self.all_reduce()
        for phase, seconds in state["seconds"].items():
            self.seconds[phase] += seconds
