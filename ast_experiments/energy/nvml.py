"""Energy, power and limits of one NVIDIA GPU, read through NVML. Nothing is ever set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Gpu:
    """A GPU.

    Attributes:
        nvml: The library: `pynvml`, or a fake.
        handle: NVML's handle of the GPU.
    """

    nvml: Any
    handle: Any

    def energy(self) -> float:
        """Returns the joules since the driver was loaded; the counter changes about every 100 ms."""
        return self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.handle) / 1e3

    def power(self) -> float:
        """Returns the instantaneous power in watts.

        Raises:
            RuntimeError: If the GPU does not report it.
        """
        value = self.nvml.nvmlDeviceGetFieldValues(self.handle, [self.nvml.NVML_FI_DEV_POWER_INSTANT])[0]
        if value.nvmlReturn:
            raise RuntimeError("no instantaneous power")
        return value.value.uiVal / 1e3

    def average_power(self) -> float:
        """Returns the power in watts: since Ampere mostly the mean of the last second, before it instantaneous."""
        return self.nvml.nvmlDeviceGetPowerUsage(self.handle) / 1e3

    def facts(self) -> dict[str, Any]:
        """Returns driver, power limit (W), maximum and fixed clocks (MHz), without those that NVML does not report."""
        nvml, gpu = self.nvml, self.handle
        queries = {
            "driver": nvml.nvmlSystemGetDriverVersion,
            "gpu_power_limit_w": lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(gpu) / 1e3,
            "gpu_max_sm_clock_mhz": lambda: nvml.nvmlDeviceGetMaxClockInfo(gpu, nvml.NVML_CLOCK_SM),
            "gpu_max_memory_clock_mhz": lambda: nvml.nvmlDeviceGetMaxClockInfo(gpu, nvml.NVML_CLOCK_MEM),
            "gpu_set_sm_clock_mhz": lambda: nvml.nvmlDeviceGetApplicationsClock(gpu, nvml.NVML_CLOCK_SM),
        }
        facts = {}
        for key, query in queries.items():
            try:
                facts[key] = query()
            except Exception:
                continue
        return facts

    def close(self) -> None:
        """Releases the library."""
        self.nvml.nvmlShutdown()


def find_gpu(uuid: str, nvml: Any = None) -> Gpu:
    """Finds a GPU by its UUID, with or without the prefix.

    Raises:
        Exception: What NVML raises if the library, the driver or the GPU is missing.
    """
    if nvml is None:
        import pynvml as nvml
    nvml.nvmlInit()
    try:
        # torch formats the UUIDs of a MIG slice and of a whole GPU alike; NVML knows only one of the two.
        names = [uuid] if uuid.startswith(("GPU-", "MIG-")) else [f"GPU-{uuid}", f"MIG-{uuid}"]
        for name in names[:-1]:
            try:
                return Gpu(nvml, nvml.nvmlDeviceGetHandleByUUID(name))
            except Exception:
                continue
        return Gpu(nvml, nvml.nvmlDeviceGetHandleByUUID(names[-1]))
    except Exception:
        nvml.nvmlShutdown()
        raise
