"""Energy counters of the CPU (RAPL), as Linux exposes them in sysfs."""

from __future__ import annotations

import os
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


def rapl_zones(root: Path = POWERCAP) -> list[Path]:
    """Finds the zones that add up to CPUs and memory: the packages and the DRAM zones inside them.

    Other zones would be counted twice: cores and graphics are parts of a package, the platform (psys) contains
    packages, and mmio zones show a package a second time.

    Raises:
        OSError: If there are no zones, or they are not readable.
    """
    packages = [zone for zone in sorted(root.glob("intel-rapl:*")) if _name(zone).startswith("package")]
    memory = [zone for package in packages for zone in sorted(root.glob(f"{package.name}:*")) if _name(zone) == "dram"]
    if not packages:
        raise FileNotFoundError(f"{root} has no energy counters of the CPU")
    return packages + memory


class Rapl:
    """Joules of all zones together. Must be read more often than a counter wraps around (minutes or more).

    Args:
        root: Folder of the zones.

    Raises:
        OSError: If there are no counters, or they are not readable.
    """

    def __init__(self, root: Path = POWERCAP) -> None:
        self._zones = rapl_zones(root)
        self._ranges = [int((zone / "max_energy_range_uj").read_text()) for zone in self._zones]
        self._last = self._counters()
        self._microjoules = 0

    def energy(self) -> float:
        """Returns the joules since this object was created."""
        counters = self._counters()
        for before, now, size in zip(self._last, counters, self._ranges, strict=True):
            self._microjoules += now - before if now >= before else now - before + size
        self._last = counters
        return self._microjoules / 1e6

    def _counters(self) -> list[int]:
        return [int((zone / "energy_uj").read_text()) for zone in self._zones]


def _name(zone: Path) -> str:
    try:
        return (zone / "name").read_text().strip()
    except OSError:
        return os.fspath(zone.name)
