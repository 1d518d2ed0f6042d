"""Where joules come from. A source is probed by reading it, never inferred from the name of a device.

| label | what is read |
|---|---|
| `nvml` | the GPU's own energy counter |
| `nvml_power` | the GPU's power of the moment, polled and integrated |
| `nvml_average_power` | the GPU's running mean of its power, polled and integrated |
| `rapl` | the processor's energy counters: packages and their memory |
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
"""Seconds in which a reading must have grown."""

RAPL_POLL_S = 30.0
"""The processor's counters wrap around after minutes; a thread reads them this often."""

GPU_LABELS = ("nvml", "nvml_power", "nvml_average_power")
"""Sources of a GPU's joules, the best one first."""

Sleep = Callable[[float], None]


class Source:
    """A reading of joules that only grows.

    Args:
        label: What it is, for records and comparisons.
        energy: Gives joules since some moment.
        close: Lets go of the device.
        every: Seconds after which a thread takes a reading, whoever asks or not; None for no thread.

    Attributes:
        period: Seconds between two changes of the reading; it says nothing of windows of less than two.
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
        """Joules since some moment.

        Raises:
            Exception: What the device raised, now or in the thread.
        """
        if self._error is not None:
            raise self._error
        with self._lock:
            return self._energy()

    def close(self) -> None:
        """Stop the thread and let go of the device; safe to call twice."""
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
    """Power, integrated by the trapezoid rule over the moments at which it was read.

    Args:
        power: Gives watts.
        clock: Gives seconds.
    """

    def __init__(self, power: Callable[[], float], clock: Callable[[], float] = time.monotonic) -> None:
        self._power, self._clock = power, clock
        self._joules, self._watts, self._at = 0.0, power(), clock()

    def energy(self) -> float:
        """Joules from the first reading to this one."""
        watts, at = self._power(), self._clock()
        self._joules += (at - self._at) * (watts + self._watts) / 2
        self._watts, self._at = watts, at
        return self._joules


@dataclass(frozen=True)
class Found:
    """What a probe came to.

    Attributes:
        source: The source, or None.
        why_not: Why there is none, in words; empty where there is one.
    """

    source: Source | None
    why_not: str = ""


def probe_gpu(wanted: str, uuid: str | None, *, nvml: Any = None, sleep: Sleep = time.sleep) -> Found:
    """The best source of a GPU's joules. Never raises.

    Args:
        wanted: `auto`, `nvml`, `nvml_power` or `none`.
        uuid: Of the GPU that trains; None where no NVIDIA GPU does.
        nvml: In place of `pynvml`.
        sleep: Waits for seconds.
    """
    if wanted == "none":
        return Found(None, "the GPU's meter is off")
    if uuid is None:
        return Found(None, "no NVIDIA GPU trains")
    try:
        find_gpu(uuid, nvml).close()
    except Exception as error:
        return Found(None, f"NVML does not show the GPU ({error})")
    labels = {"nvml": ("nvml",), "nvml_power": GPU_LABELS[1:]}.get(wanted, GPU_LABELS)
    return _first({label: partial(_gpu_source, label, uuid, nvml) for label in labels}, sleep)


def probe_cpu(wanted: str, root: Path = POWERCAP, *, sleep: Sleep = time.sleep) -> Found:
    """The source of the processor's joules. Never raises.

    Args:
        wanted: `auto`, `rapl` or `none`.
        root: Where Linux shows the counters.
        sleep: Waits for seconds.
    """
    if wanted == "none":
        return Found(None, "the processor's meter is off")
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


def _first(candidates: Mapping[str, Callable[[], Source]], sleep: Sleep) -> Found:
    """The first candidate that can be read and whose reading grows."""
    reasons = []
    for label, make in candidates.items():
        try:
            source = make()
            try:
                before = source.read()
                sleep(PROBE_S)
                if source.read() > before:
                    return Found(source)
            except Exception:
                source.close()
                raise
            source.close()
            reasons.append(f"{label}: the reading does not change")
        except Exception as error:
            reasons.append(f"{label}: {error}")
    return Found(None, "; ".join(reasons))
