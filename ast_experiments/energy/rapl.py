"""The CPU's own energy counters (RAPL), as Linux shows them in sysfs."""

from __future__ import annotations

import os
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


def rapl_zones(root: Path = POWERCAP) -> list[Path]:
    """The counters that add up to processors and memory, without any that is part or duplicate of another.

    These are the packages and the memory that belongs to one. Not counted: cores and graphics, which are parts of a
    package; the platform (psys), which contains packages; and the second view of a package through mmio.

    Raises:
        OSError: If they are not there or may not be read.
    """
    packages = [zone for zone in sorted(root.glob("intel-rapl:*")) if _name(zone).startswith("package")]
    memory = [zone for package in packages for zone in sorted(root.glob(f"{package.name}:*")) if _name(zone) == "dram"]
    if not packages:
        raise FileNotFoundError(f"{root} shows no energy counters of the processor")
    return packages + memory


class Rapl:
    """Joules of all zones together. Read it more often than a counter wraps around, which takes minutes at least.

    Args:
        root: Where the zones are.

    Raises:
        OSError: If there are no counters or they may not be read.
    """

    def __init__(self, root: Path = POWERCAP) -> None:
        self._zones = rapl_zones(root)
        self._ranges = [int((zone / "max_energy_range_uj").read_text()) for zone in self._zones]
        self._last = self._counters()
        self._microjoules = 0

    def energy(self) -> float:
        """Energy in joules since this object was made."""
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
