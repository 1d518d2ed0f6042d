"""The meter of a run: joules by run, by epoch and by phase, of what could be measured and of nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from ast_experiments.energy.counter import Account, Carbon, Spent
from ast_experiments.energy.probe import Found


class Meter:
    """Joules of a run. A run calls `start`, then `edge` where a phase ends; nothing waits for the device in between.

    Figures cumulate over the parts of an interrupted run: `state_dict` holds them. What a part did after its last
    checkpoint is lost, as its seconds are.

    Args:
        gpu: What the probe for the GPU came to.
        cpu: What the probe for the processor came to.
        uuid: Of the GPU that trains; None where the processor does.
        synchronise: Waits for the device; called at edges only.
        combine: Adds up what all ranks spent, together; called at edges only.
        idle_seconds: How long to measure the GPU's power before anything runs; 0 leaves it unknown.
        carbon: What electricity emits; None leaves it out.
        clock: Gives seconds.
        sleep: Waits for seconds.
    """

    def __init__(
        self,
        gpu: Found,
        cpu: Found,
        *,
        uuid: str | None = None,
        synchronise: Callable[[], None] = lambda: None,
        combine: Callable[[Spent], Spent] | None = None,
        idle_seconds: float = 0.0,
        carbon: Carbon | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._gpu, self._cpu, self._uuid = Account(gpu), Account(cpu), uuid
        self._synchronise, self._clock, self._sleep = synchronise, clock, sleep
        self._combine, self._idle_seconds, self._carbon = combine, idle_seconds, carbon
        self._idle_power: float | None = None
        self._before = self._edge = self._row = Spent()
        self._phases: dict[str, Spent] = {}
        self._short: set[str] = set()
        self._zero = self._read()

    def start(self) -> None:
        """Measure the idle power, if there is a source for it, and count from now on."""
        if self._idle_seconds:
            begin = self._read()
            if self._gpu.label is not None:
                self._sleep(self._idle_seconds)
            idle = self._trusted(self._all(self._read().plus(begin, -1)))
            self._idle_power = None if idle.gpu is None else idle.gpu / idle.seconds
        self._zero = self._read()

    def edge(self, phase: str) -> None:
        """Charge what was spent since the last edge to a phase."""
        now = self._all(self._own())
        passed = now.plus(self._edge, -1)
        self._edge = now
        self._phases[phase] = self._phases.get(phase, Spent()).plus(passed)
        if self._trusted(passed) != passed:
            self._short.add(phase)

    @property
    def measures(self) -> bool:
        """Whether the device that trains is measured."""
        return (self._gpu if self._uuid is not None else self._cpu).label is not None

    def joules(self, phase: str | None = None) -> float | None:
        """Joules of the device that trains, up to the last edge: of the run, or of a phase of it; None if unknown."""
        if not self.measures:
            return None
        spent = self._edge if phase is None else self._phases.get(phase, Spent())
        return spent.gpu if self._uuid is not None else spent.cpu

    def row(self) -> dict[str, float]:
        """Entries of an epoch row, as of the last edge; what was not measured is absent."""
        window = self._trusted(self._edge.plus(self._row, -1))
        self._row = self._edge
        power = None if window.gpu is None else window.gpu / window.seconds
        entries = {f"energy/{key}": value for key, value in self._joules(self._edge).items()}
        grams = None if self._carbon is None else self._carbon.grams(self._trusted(self._edge))
        return entries | _present({"energy/gpu_power_w": power, "carbon/gco2e": grams})

    def result(self) -> dict[str, Any]:
        """The `energy` of result.json: up to now, or with several ranks up to the last edge, where they met.

        What was not measured is absent.
        """
        total = self._trusted(self._edge if self._combine else self._own())
        unsure = "the run was too short, or a rank had no meter"
        why_not = {
            "GPU": self._gpu.why_not or (unsure if total.gpu is None else ""),
            "processor": self._cpu.why_not or (unsure if total.cpu is None else ""),
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
            **self._emitted(total),
        }

    def close(self) -> None:
        """Let go of the sources."""
        self._gpu.close()
        self._cpu.close()

    def state_dict(self) -> dict[str, Any]:
        """What this rank spent so far, and where the open window began."""
        return {
            "spent": asdict(self._own()),
            "edge": asdict(self._edge),
            "row": asdict(self._row),
            "phases": {name: asdict(phase) for name, phase in self._phases.items()},
            "short": sorted(self._short),
            "idle_power": self._idle_power,
            "meters": self._meters(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Add what was spent before. Joules of another meter or another GPU are not added up with those of this one."""
        before, meters = Spent(**state["spent"]), self._meters()
        for account, kind, known in ((self._gpu, "gpu", before.gpu), (self._cpu, "cpu", before.cpu)):
            if known is None:
                account.drop("an earlier part of the run was not measured")
            elif state["meters"][kind] != meters[kind]:
                account.drop("the run began with another meter")
        self._before, self._edge, self._row = before, Spent(**state["edge"]), Spent(**state["row"])
        self._phases = {name: Spent(**phase) for name, phase in state["phases"].items()}
        self._short = set(state["short"])
        if state["idle_power"] is not None:
            self._idle_power = state["idle_power"]

    def _emitted(self, total: Spent) -> dict[str, Any]:
        grams = None if self._carbon is None else self._carbon.grams(total)
        if self._carbon is None or grams is None:
            return {}
        return {"carbon": {"gco2e": grams, "g_per_kwh": self._carbon.intensity, "source": self._carbon.source}}

    def _meters(self) -> dict[str, Any]:
        return {"gpu": [self._gpu.label, self._uuid], "cpu": self._cpu.label}

    def _own(self) -> Spent:
        """Of this rank, from the start to now, with what earlier parts of the run spent."""
        return self._before.plus(self._read().plus(self._zero, -1))

    def _all(self, own: Spent) -> Spent:
        return own if self._combine is None else self._combine(own)

    def _read(self) -> Spent:
        try:
            self._synchronise()
        except Exception as error:
            self._gpu.drop(f"the device failed: {error}")
        return Spent(self._clock(), self._gpu.total(), self._cpu.total())

    def _trusted(self, spent: Spent) -> Spent:
        """Without joules of less than two periods of their source, which say nothing."""

        def check(joules: float | None, account: Account) -> float | None:
            return None if not spent.seconds or spent.seconds < 2 * account.period else joules

        return Spent(spent.seconds, check(spent.gpu, self._gpu), check(spent.cpu, self._cpu))

    def _joules(self, spent: Spent) -> dict[str, float]:
        total = self._trusted(spent)
        above = None
        if total.gpu is not None and self._idle_power is not None:
            above = total.gpu - self._idle_power * total.seconds
        return _present({"gpu_joules": total.gpu, "gpu_joules_above_idle": above, "cpu_joules": total.cpu})


def _present(figures: Mapping[str, float | None]) -> dict[str, float]:
    return {key: value for key, value in figures.items() if value is not None}
