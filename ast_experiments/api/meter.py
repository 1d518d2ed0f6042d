"""Joules, seconds and rows of a training loop of your own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, Self

import torch

from ast_experiments.core.errors import UserError
from ast_experiments.energy.build import build_meter


class Meter:
    """Measures a loop by phase. Joules come from a meter of the device, or are None with the reason.

    The device is waited for where a phase begins and ends, so measure epochs, not steps. A meter counts a device, not a
    process: it includes everything else that runs there.

    Args:
        device: Training device.
        gpu: Meter of the GPU: the best one, its energy counter, its sampled power, or none.
        cpu: Meter of the CPU likewise.
        idle_seconds: How long to measure the idle power of the GPU first; 0 leaves it unknown.

    Example:
        >>> with Meter("cuda") as meter:
        ...     for epoch in selection.epochs():
        ...         with meter.phase("train"):
        ...             ...
        ...         with meter.phase("val"):
        ...             ...
        >>> print(meter.seconds("train"), meter.joules("train"), meter.source or meter.why_not)
    """

    def __init__(
        self,
        device: torch.device | str = "cpu",
        *,
        gpu: Literal["auto", "nvml", "nvml_power", "none"] = "auto",
        cpu: Literal["auto", "rapl", "none"] = "auto",
        idle_seconds: float = 0.0,
    ) -> None:
        self._device = torch.device(device)
        self._meter = build_meter(
            self._device,
            gpu=gpu,
            cpu=cpu,
            require=None,
            idle_seconds=idle_seconds,
            carbon_intensity=None,
            carbon_source=None,
        )
        self._meter.start()
        self._seconds: dict[str, float] = {}
        self._rows: dict[str, int] = {}
        self._open: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def phase(self, name: str = "train", *, rows: int = 0) -> Iterator[None]:
        """Charges what happens inside to a phase.

        Args:
            name: `train`, `val`, `score` or any other name.
            rows: Rows that the phase works on, to be counted.

        Raises:
            UserError: Inside another phase: phases do not overlap.
        """
        if self._open is not None:
            raise UserError(f"phase {name!r} begins inside phase {self._open!r}; end that one first")
        self._meter.end_window("other")
        self._open, begin = name, time.perf_counter()
        try:
            yield
        finally:
            self._meter.end_window(name)
            self._open = None
            self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - begin
            self.count(rows, name)

    def count(self, rows: int, phase: str = "train") -> None:
        """Adds rows to a phase."""
        self._rows[phase] = self._rows.get(phase, 0) + rows

    def seconds(self, phase: str = "train") -> float:
        """Returns the seconds in a phase so far."""
        return self._seconds.get(phase, 0.0)

    def rows(self, phase: str = "train") -> int:
        """Returns the rows counted in a phase so far."""
        return self._rows.get(phase, 0)

    def joules(self, phase: str = "train") -> float | None:
        """Returns the joules of the training device in a phase so far; None if they are not measured."""
        return self._meter.joules(phase)

    @property
    def source(self) -> str | None:
        """The meter that the joules come from: `nvml`, `nvml_power`, `nvml_average_power` or `rapl`; None without."""
        found = self._meter.result()
        return found["source"] if self._device.type == "cuda" else found["cpu_source"]

    @property
    def why_not(self) -> str | None:
        """The reason why a device has no joules; None if all are measured."""
        return self._meter.result()["why_not"]

    def result(self) -> dict[str, Any]:
        """Returns `seconds` by phase and `energy`, as in result.json."""
        return {"seconds": dict(self._seconds), "energy": self._meter.result()}

    def close(self) -> None:
        """Releases the meters."""
        self._meter.close()
