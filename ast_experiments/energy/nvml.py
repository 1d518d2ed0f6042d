"""One NVIDIA GPU as NVML sees it: energy, power, and what limits them. Nothing is ever set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Gpu:
    """A GPU.

    Attributes:
        nvml: The library, `pynvml` or what stands in for it.
        handle: The library's name for the GPU.
    """

    nvml: Any
    handle: Any

    def energy(self) -> float:
        """Energy in joules since the driver was loaded; the counter moves about every 100 ms."""
        return self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.handle) / 1e3

    def power(self) -> float:
        """Power of this moment in watts.

        Raises:
            RuntimeError: If the GPU does not tell.
        """
        value = self.nvml.nvmlDeviceGetFieldValues(self.handle, [self.nvml.NVML_FI_DEV_POWER_INSTANT])[0]
        if value.nvmlReturn:
            raise RuntimeError("no power of the moment")
        return value.value.uiVal / 1e3

    def average_power(self) -> float:
        """Power in watts; on most chips since Ampere the mean over the last second, on others of this moment."""
        return self.nvml.nvmlDeviceGetPowerUsage(self.handle) / 1e3

    def facts(self) -> dict[str, Any]:
        """Driver, power limit in W, and the highest and the fixed clocks in MHz; what is not told is absent."""
        nvml, gpu = self.nvml, self.handle
        asked = {
            "driver": nvml.nvmlSystemGetDriverVersion,
            "gpu_power_limit_w": lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(gpu) / 1e3,
            "gpu_max_sm_clock_mhz": lambda: nvml.nvmlDeviceGetMaxClockInfo(gpu, nvml.NVML_CLOCK_SM),
            "gpu_max_memory_clock_mhz": lambda: nvml.nvmlDeviceGetMaxClockInfo(gpu, nvml.NVML_CLOCK_MEM),
            "gpu_set_sm_clock_mhz": lambda: nvml.nvmlDeviceGetApplicationsClock(gpu, nvml.NVML_CLOCK_SM),
        }
        facts = {}
        for key, ask in asked.items():
            try:
                facts[key] = ask()
            except Exception:
                continue
        return facts

    def close(self) -> None:
        """Let go of the library."""
        self.nvml.nvmlShutdown()


def find_gpu(uuid: str, nvml: Any = None) -> Gpu:
    """The GPU with a UUID, with or without its prefix.

    Raises:
        Exception: Whatever the library raises where the library, the driver or the GPU is missing.
    """
    if nvml is None:
        import pynvml as nvml
    nvml.nvmlInit()
    try:
        # torch gives a MIG slice and a whole GPU the same kind of name; only one of the two is known to NVML.
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
