"""What one source has counted, and sums of such figures in which unknown stays unknown."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from ast_experiments.energy.probe import Found

JOULES_PER_KWH = 3.6e6

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Spent:
    """Seconds and joules between two moments; joules are None where they were not measured.

    Attributes:
        seconds: Wall time.
        gpu: Joules of the GPU.
        cpu: Joules of the processor.
    """

    seconds: float = 0.0
    gpu: float | None = 0.0
    cpu: float | None = 0.0

    def plus(self, other: Spent, sign: int = 1) -> Spent:
        """The sum of two; what is unknown of one is unknown of the sum."""

        def add(a: float | None, b: float | None) -> float | None:
            return None if a is None or b is None else a + sign * b

        return Spent(self.seconds + sign * other.seconds, add(self.gpu, other.gpu), add(self.cpu, other.cpu))


class Account:
    """What one source has counted since the first reading. A source that fails once is not trusted again.

    Args:
        found: What the probe came to.

    Attributes:
        label: Of the source; None where there is none.
        why_not: Why there is no figure, in words.
    """

    def __init__(self, found: Found) -> None:
        self._source, self.why_not = found.source, found.why_not
        self.label = None if found.source is None else found.source.label
        self.period = 0.0 if found.source is None else found.source.period
        self._total = 0.0
        self._last: float | None = None

    def total(self) -> float | None:
        """Joules from the first reading to now, or None. Never raises."""
        if self._source is None:
            return None
        try:
            now = self._source.read()
        except Exception as error:
            return self.drop(f"{self.label} failed: {error}")
        passed = 0.0 if self._last is None else now - self._last
        if passed < 0:
            return self.drop(f"{self.label} went backwards by {-passed:.3g} J")
        self._last = now
        self._total += passed
        return self._total

    def drop(self, reason: str) -> None:
        """Give the source up, with one line in the log; training goes on."""
        if self._source is not None:
            logger.warning("joules are no longer measured: %s", reason)
            self.close()
            self._source, self.label, self.why_not = None, None, reason

    def close(self) -> None:
        """Let go of the source."""
        if self._source is not None:
            try:
                self._source.close()
            except Exception as error:
                logger.warning("a meter could not be closed: %s", error)


@dataclass(frozen=True)
class Carbon:
    """What a unit of electricity is taken to emit.

    Attributes:
        intensity: Grams of CO2 equivalent per kWh.
        source: Where the figure is from, in words.
    """

    intensity: float
    source: str | None

    def grams(self, spent: Spent) -> float | None:
        """Grams for the joules that were measured; None if none were."""
        known = [joules for joules in (spent.gpu, spent.cpu) if joules is not None]
        return sum(known) / JOULES_PER_KWH * self.intensity if known else None
