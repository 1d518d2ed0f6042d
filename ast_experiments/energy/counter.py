"""Energy counters that survive a failing source, and measurements in which an unknown stays unknown."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from ast_experiments.energy.probe import ProbeResult

JOULES_PER_KWH = 3.6e6

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measurement:
    """Seconds and joules of a window; joules are None if they were not measured.

    Attributes:
        seconds: Wall time.
        gpu: Joules of the GPU.
        cpu: Joules of the CPU.
    """

    seconds: float = 0.0
    gpu: float | None = 0.0
    cpu: float | None = 0.0

    def plus(self, other: Measurement, sign: int = 1) -> Measurement:
        """Returns the sum (or difference, for sign -1). A figure that is unknown in either is unknown in the sum."""

        def add(a: float | None, b: float | None) -> float | None:
            return None if a is None or b is None else a + sign * b

        return Measurement(self.seconds + sign * other.seconds, add(self.gpu, other.gpu), add(self.cpu, other.cpu))

    def minus(self, other: Measurement) -> Measurement:
        """Returns the difference."""
        return self.plus(other, -1)


class EnergyCounter:
    """Joules of one source since the first reading. A source is dropped for good after its first error.

    Args:
        probed: The result of probing for a source.

    Attributes:
        label: Label of the source; None if there is none.
        why_not: Why nothing is measured; empty if something is.
        period: Seconds between two changes of the reading.
    """

    def __init__(self, probed: ProbeResult) -> None:
        self._source, self.why_not = probed.source, probed.why_not
        self.label = None if probed.source is None else probed.source.label
        self.period = 0.0 if probed.source is None else probed.source.period
        self._total = 0.0
        self._last: float | None = None

    def total(self) -> float | None:
        """Returns the joules since the first reading, or None if unknown. Never raises."""
        if self._source is None:
            return None
        try:
            now = self._source.read()
        except Exception as error:
            return self.drop(f"{self.label} failed: {error}")
        used = 0.0 if self._last is None else now - self._last
        if used < 0:
            return self.drop(f"{self.label} went backwards by {-used:.3g} J")
        self._last = now
        self._total += used
        return self._total

    def drop(self, reason: str) -> None:
        """Stops using the source and logs the reason once; training continues."""
        if self._source is not None:
            logger.warning("energy is no longer measured: %s", reason)
            self.close()
            self._source, self.label, self.why_not = None, None, reason

    def close(self) -> None:
        """Releases the source."""
        if self._source is not None:
            try:
                self._source.close()
            except Exception as error:
                logger.warning("an energy source could not be closed: %s", error)


@dataclass(frozen=True)
class Carbon:
    """Carbon intensity of electricity.

    Attributes:
        intensity: Grams of CO2 equivalent per kWh.
        source: Where the figure comes from.
    """

    intensity: float
    source: str | None

    def grams(self, measured: Measurement) -> float | None:
        """Returns the grams for the joules that were measured; None if none were."""
        known = [joules for joules in (measured.gpu, measured.cpu) if joules is not None]
        return sum(known) / JOULES_PER_KWH * self.intensity if known else None
