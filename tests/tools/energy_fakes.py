"""Fake clock, NVML and RAPL."""

from __future__ import annotations

from collections.abc import Callable
from math import floor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

UUID = "12345678-1234-1234-1234-123456789abc"


class Clock:
    """A clock that advances only when someone sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class NotSupportedError(Exception):
    def __init__(self) -> None:
        super().__init__("Not Supported")


class FakeNvml:
    """A GPU of constant power, `watts`, whose counter changes every 100 ms.

    `missing` names what the GPU refuses: "energy", "instant", "average", "gpu" (its UUID), "library".
    """

    NVML_FI_DEV_POWER_INSTANT = 186
    NVML_CLOCK_SM, NVML_CLOCK_MEM = 1, 2

    def __init__(self, clock: Callable[[], float], watts: float = 100.0, missing: tuple[str, ...] = ()) -> None:
        self.clock, self.watts, self.missing = clock, watts, missing
        self.offset = 5000.0
        self.users = 0

    def _need(self, what: str) -> None:
        if what in self.missing:
            raise NotSupportedError

    def nvmlInit(self) -> None:  # noqa: N802
        if "library" in self.missing:
            raise OSError("NVML Shared Library Not Found")
        self.users += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.users -= 1

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        if uuid != f"GPU-{UUID}" or "gpu" in self.missing:
            raise LookupError("Not Found")
        return uuid

    def nvmlDeviceGetTotalEnergyConsumption(self, _: str) -> int:  # noqa: N802
        self._need("energy")
        ticks = 0 if "movement" in self.missing else floor(self.clock() * 10 + 1e-6)
        return round(1e3 * (self.offset + self.watts * ticks / 10))

    def nvmlDeviceGetFieldValues(self, _: str, fields: list[int]) -> list[Any]:  # noqa: N802
        assert fields == [self.NVML_FI_DEV_POWER_INSTANT]
        status = 3 if "instant" in self.missing else 0
        return [SimpleNamespace(nvmlReturn=status, value=SimpleNamespace(uiVal=round(1e3 * self.watts)))]

    def nvmlDeviceGetPowerUsage(self, _: str) -> int:  # noqa: N802
        self._need("average")
        return round(1e3 * self.watts)

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return "580.1"

    def nvmlDeviceGetEnforcedPowerLimit(self, _: str) -> int:  # noqa: N802
        return 250_000

    def nvmlDeviceGetMaxClockInfo(self, _: str, kind: int) -> int:  # noqa: N802
        return {1: 1980, 2: 2619}[kind]

    def nvmlDeviceGetApplicationsClock(self, _: str, kind: int) -> int:  # noqa: N802
        raise NotSupportedError


def zone(root: Path, folder: str, name: str, microjoules: int, size: int = 262_143_328_850) -> Path:
    """Writes one RAPL zone as Linux exposes it."""
    path = root / folder
    path.mkdir(parents=True, exist_ok=True)
    (path / "name").write_text(f"{name}\n")
    (path / "energy_uj").write_text(f"{microjoules}\n")
    (path / "max_energy_range_uj").write_text(f"{size}\n")
    return path
