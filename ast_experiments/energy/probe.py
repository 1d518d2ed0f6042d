"""Sources of joules. A source is probed by reading it, never inferred from the name of a device.

| label | reads |
|---|---|
| `nvml` | the GPU's own energy counter |
| `nvml_power` | the GPU's instantaneous power, polled and integrated |
| `nvml_average_power` | the GPU's running mean power, polled and integrated |
| `rapl` | the CPU's energy counters: packages and their memory |
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ast_experiments.energy.nvml import find_gpu
from ast_experiments.energy.rapl import POWERCAP, Rapl

PERIOD_S = 0.1
"""Seconds between two changes of NVML's counter, and between two polls of power."""

PROBE_S = 0.3
"""Seconds within which a reading must grow."""

RAPL_POLL_S = 30.0
"""Seconds between two readings by a thread; the CPU's counters wrap around after minutes."""

GPU_LABELS = ("nvml", "nvml_power", "nvml_average_power")
"""Sources of a GPU's joules, best first."""

Sleep = Callable[[float], None]


class Source:
    """A reading of joules that never decreases.

    Args:
        label: Name in records and comparisons.
        energy: Returns the joules since an arbitrary moment.
        close: Releases the device.
        every: Seconds between readings by a background thread; None for no thread.

    Attributes:
        period: Seconds between two changes of the reading; windows under two periods are not meaningful.
    """

    period = PERIOD_S

    def __init__(
        self,
        label: str,
        energy: Callable[[], float],
        close: Callable[[], None] = lambda: None,
        *,
        every: float | None = None,
    ) -> None:
        self.label, self._energy, self._close = label, energy, close
        self._lock, self._stopped = threading.Lock(), threading.Event()
        self._error: Exception | None = None
        if every is not None:
            threading.Thread(target=self._poll, args=(every,), name=label, daemon=True).start()

    def read(self) -> float:
        """Returns the joules since an arbitrary moment.

        Raises:
            Exception: What the device raised, now or in the background thread.
        """
        if self._error is not None:
            raise self._error
        with self._lock:
            return self._energy()

    def close(self) -> None:
        """Stops the thread and releases the device; safe to call twice."""
        if not self._stopped.is_set():
            self._stopped.set()
            with self._lock:
                self._close()

    def _poll(self, every: float) -> None:
        while not self._stopped.wait(every):
            try:
                self.read()
            except Exception as error:
                self._error = error
                return


class Integral:
    """Power integrated over time by the trapezoid rule, between readings.

    Args:
        power: Returns watts.
        clock: Returns seconds.
    """

    def __init__(self, power: Callable[[], float], clock: Callable[[], float] = time.monotonic) -> None:
        self._power, self._clock = power, clock
        self._joules, self._watts, self._at = 0.0, power(), clock()

    def energy(self) -> float:
        """Reads the power and returns the joules since the first reading."""
        watts, at = self._power(), self._clock()
        self._joules += (at - self._at) * (watts + self._watts) / 2
        self._watts, self._at = watts, at
        return self._joules


@dataclass(frozen=True)
class ProbeResult:
    """Result of a probe.

    Attributes:
        source: The source, or None.
        why_not: Why there is no source; empty if there is one.
    """

    source: Source | None
    why_not: str = ""


def probe_gpu(wanted: str, uuid: str | None, *, nvml: Any = None, sleep: Sleep = time.sleep) -> ProbeResult:
    """Finds the best source of a GPU's joules. Never raises.

    Args:
        wanted: `auto`, `nvml`, `nvml_power` or `none`.
        uuid: UUID of the training GPU; None if training does not run on an NVIDIA GPU.
        nvml: Used instead of `pynvml`.
        sleep: Sleeps for seconds.
    """
    if wanted == "none":
        return ProbeResult(None, "GPU metering is off")
    if uuid is None:
        return ProbeResult(None, "no NVIDIA GPU in use")
    try:
        find_gpu(uuid, nvml).close()
    except Exception as error:
        return ProbeResult(None, f"NVML cannot find the GPU ({error})")
    labels = {"nvml": ("nvml",), "nvml_power": GPU_LABELS[1:]}.get(wanted, GPU_LABELS)
    return _first({label: partial(_gpu_source, label, uuid, nvml) for label in labels}, sleep)


def probe_cpu(wanted: str, root: Path = POWERCAP, *, sleep: Sleep = time.sleep) -> ProbeResult:
    """Finds the source of the CPU's joules. Never raises.

    Args:
        wanted: `auto`, `rapl` or `none`.
        root: Where Linux exposes the counters.
        sleep: Sleeps for seconds.
    """
    if wanted == "none":
        return ProbeResult(None, "CPU metering is off")
    return _first({"rapl": lambda: Source("rapl", Rapl(root).energy, every=RAPL_POLL_S)}, sleep)


def _gpu_source(label: str, uuid: str, nvml: Any) -> Source:
    gpu = find_gpu(uuid, nvml)
    try:
        if label == "nvml":
            return Source(label, gpu.energy, gpu.close)
        power = gpu.power if label == "nvml_power" else gpu.average_power
        return Source(label, Integral(power).energy, gpu.close, every=PERIOD_S)
    except Exception:
        gpu.close()
        raise


def _first(candidates: Mapping[str, Callable[[], Source]], sleep: Sleep) -> ProbeResult:
    """Returns the first candidate whose reading works and grows."""
    reasons = []
    for label, make in candidates.items():
        try:
            source = make()
            try:
                before = source.read()
                sleep(PROBE_S)
                if source.read() > before:
                    return ProbeResult(source)
            except Exception:
                source.close()
                raise
            source.close()
            reasons.append(f"{label}: the reading does not change")
        except Exception as error:
            reasons.append(f"{label}: {error}")
    return ProbeResult(None, "; ".join(reasons))
