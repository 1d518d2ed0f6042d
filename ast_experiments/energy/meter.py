"""The energy meter of a run: measured joules in total, by epoch and by phase; never estimates."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from ast_experiments.energy.counter import Carbon, EnergyCounter, Measurement
from ast_experiments.energy.probe import ProbeResult


class Meter:
    """Joules of a run. Call `start` once, then `end_window` at the end of each phase; only these wait for the device.

    `state_dict` carries the totals across the parts of an interrupted run. Energy and seconds spent after the last
    checkpoint are lost.

    Args:
        gpu: Probed source of the GPU.
        cpu: Probed source of the CPU.
        uuid: UUID of the training GPU; None if the CPU trains.
        synchronise: Waits for the device; called at window ends only.
        combine: Sums the measurements of all ranks; called at window ends only, by all ranks together.
        idle_seconds: How long to measure the idle power of the GPU before the run; 0 leaves it unknown.
        carbon: Carbon intensity of the electricity; None leaves emissions out.
        clock: Returns seconds.
        sleep: Sleeps for seconds.
    """

    def __init__(
        self,
        gpu: ProbeResult,
        cpu: ProbeResult,
        *,
        uuid: str | None = None,
        synchronise: Callable[[], None] = lambda: None,
        combine: Callable[[Measurement], Measurement] | None = None,
        idle_seconds: float = 0.0,
        carbon: Carbon | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._gpu, self._cpu, self._uuid = EnergyCounter(gpu), EnergyCounter(cpu), uuid
        self._synchronise, self._clock, self._sleep = synchronise, clock, sleep
        self._combine, self._idle_seconds, self._carbon = combine, idle_seconds, carbon
        self._idle_power: float | None = None
        self._before = self._window_end = self._row = Measurement()
        self._phases: dict[str, Measurement] = {}
        self._short: set[str] = set()
        self._zero = self._read()

    def start(self) -> None:
        """Measures the idle power, if there is a GPU source, and starts counting."""
        if self._idle_seconds:
            begin = self._read()
            if self._gpu.label is not None:
                self._sleep(self._idle_seconds)
            idle = self._trusted(self._all_ranks(self._read().minus(begin)))
            self._idle_power = None if idle.gpu is None else idle.gpu / idle.seconds
        self._zero = self._read()

    def end_window(self, phase: str) -> None:
        """Charges the energy since the end of the last window to a phase."""
        now = self._all_ranks(self._own())
        window = now.minus(self._window_end)
        self._window_end = now
        self._phases[phase] = self._phases.get(phase, Measurement()).plus(window)
        if self._trusted(window) != window:
            self._short.add(phase)

    @property
    def measures(self) -> bool:
        """Whether the training device is measured."""
        return (self._gpu if self._uuid is not None else self._cpu).label is not None

    def joules(self, phase: str | None = None) -> float | None:
        """Returns the training device's joules at the last window end, of the run or a phase; None if unknown."""
        if not self.measures:
            return None
        measured = self._window_end if phase is None else self._phases.get(phase, Measurement())
        return measured.gpu if self._uuid is not None else measured.cpu

    def row(self) -> dict[str, float]:
        """Returns entries of an epoch row, as of the last window end; figures not measured are absent."""
        window = self._trusted(self._window_end.minus(self._row))
        self._row = self._window_end
        power = None if window.gpu is None else window.gpu / window.seconds
        entries = {f"energy/{key}": value for key, value in self._joules(self._window_end).items()}
        grams = None if self._carbon is None else self._carbon.grams(self._trusted(self._window_end))
        return entries | _present({"energy/gpu_power_w": power, "carbon/gco2e": grams})

    def result(self) -> dict[str, Any]:
        """Returns the `energy` section of result.json, up to now or, with several ranks, up to the last window end.

        Figures that were not measured are absent.
        """
        total = self._trusted(self._window_end if self._combine else self._own())
        uncertain = "the run was too short, or a rank had no meter"
        why_not = {
            "GPU": self._gpu.why_not or (uncertain if total.gpu is None else ""),
            "CPU": self._cpu.why_not or (uncertain if total.cpu is None else ""),
        }
        phases = {
            name: _present({"seconds": phase.seconds, "gpu_joules": phase.gpu, "cpu_joules": phase.cpu})
            for name, phase in self._phases.items()
            if name not in self._short
        }
        return {
            "source": self._gpu.label if total.gpu is not None else None,
            "cpu_source": self._cpu.label if total.cpu is not None else None,
            "why_not": "; ".join(f"{device}: {reason}" for device, reason in why_not.items() if reason) or None,
            **self._joules(total),
            **_present({"idle_power_w": self._idle_power}),
            **({"by_phase": phases} if total.gpu is not None or total.cpu is not None else {}),
            **self._emissions(total),
        }

    def close(self) -> None:
        """Releases the sources."""
        self._gpu.close()
        self._cpu.close()

    def state_dict(self) -> dict[str, Any]:
        """Returns this rank's totals and the start of the open window."""
        return {
            "spent": asdict(self._own()),
            "edge": asdict(self._window_end),
            "row": asdict(self._row),
            "phases": {name: asdict(phase) for name, phase in self._phases.items()},
            "short": sorted(self._short),
            "idle_power": self._idle_power,
            "meters": self._meters(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Adds the totals of earlier parts. Joules of another meter or another GPU are never added to this one's."""
        before, meters = Measurement(**state["spent"]), self._meters()
        for counter, kind, known in ((self._gpu, "gpu", before.gpu), (self._cpu, "cpu", before.cpu)):
            if known is None:
                counter.drop("an earlier part of the run was not measured")
            elif state["meters"][kind] != meters[kind]:
                counter.drop("an earlier part of the run used another meter")
        self._before, self._window_end, self._row = before, Measurement(**state["edge"]), Measurement(**state["row"])
        self._phases = {name: Measurement(**phase) for name, phase in state["phases"].items()}
        self._short = set(state["short"])
        if state["idle_power"] is not None:
            self._idle_power = state["idle_power"]

    def _emissions(self, total: Measurement) -> dict[str, Any]:
        grams = None if self._carbon is None else self._carbon.grams(total)
        if self._carbon is None or grams is None:
            return {}
        return {"carbon": {"gco2e": grams, "g_per_kwh": self._carbon.intensity, "source": self._carbon.source}}

    def _meters(self) -> dict[str, Any]:
        return {"gpu": [self._gpu.label, self._uuid], "cpu": self._cpu.label}

    def _own(self) -> Measurement:
        """Returns this rank's measurement from the start to now, including earlier parts of the run."""
        return self._before.plus(self._read().minus(self._zero))

    def _all_ranks(self, own: Measurement) -> Measurement:
        return own if self._combine is None else self._combine(own)

    def _read(self) -> Measurement:
        try:
            self._synchronise()
        except Exception as error:
            self._gpu.drop(f"the device failed: {error}")
        return Measurement(self._clock(), self._gpu.total(), self._cpu.total())

    def _trusted(self, measured: Measurement) -> Measurement:
        """Drops joules of windows shorter than two periods of their source: they are not meaningful."""

        def check(joules: float | None, counter: EnergyCounter) -> float | None:
            return None if not measured.seconds or measured.seconds < 2 * counter.period else joules

        return Measurement(measured.seconds, check(measured.gpu, self._gpu), check(measured.cpu, self._cpu))

    def _joules(self, measured: Measurement) -> dict[str, float]:
        total = self._trusted(measured)
        above = None
        if total.gpu is not None and self._idle_power is not None:
            above = total.gpu - self._idle_power * total.seconds
        return _present({"gpu_joules": total.gpu, "gpu_joules_above_idle": above, "cpu_joules": total.cpu})


def _present(figures: Mapping[str, float | None]) -> dict[str, float]:
    return {key: value for key, value in figures.items() if value is not None}
