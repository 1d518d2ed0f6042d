"""Builds the energy meter of a run, and reads the GPU facts that a comparison of joules needs."""

from __future__ import annotations

import os
from math import isnan, nan
from typing import Any

import torch

from ast_experiments.core import distributed
from ast_experiments.core.errors import ConfigError
from ast_experiments.energy.counter import Carbon, Measurement
from ast_experiments.energy.meter import Meter
from ast_experiments.energy.nvml import find_gpu
from ast_experiments.energy.probe import ProbeResult, Source, probe_cpu, probe_gpu

METER_SETTINGS = ("gpu", "cpu", "require", "idle_seconds", "carbon_intensity", "carbon_source")
"""Settings of `energy` that `build_meter` takes."""


def build_meter(
    device: torch.device,
    *,
    gpu: str,
    cpu: str,
    require: str | None,
    idle_seconds: float,
    carbon_intensity: float | None,
    carbon_source: str | None,
) -> Meter:
    """Probes the energy sources of this machine and builds the meter of a run.

    Args:
        device: The training device.
        gpu: `auto`, `nvml`, `nvml_power` or `none`.
        cpu: `auto`, `rapl` or `none`.
        require: `gpu` or `cpu`: fail if that meter is missing.
        idle_seconds: How long to measure the idle power of the GPU before the run.
        carbon_intensity: Carbon intensity of the electricity, in g/kWh.
        carbon_source: Where that figure comes from.

    Raises:
        ConfigError: If the required meter is missing.
    """
    uuid = gpu_uuid(device)
    # The ranks of a machine share its CPU: the first one measures it, the others add zero.
    first = int(os.environ.get("LOCAL_RANK", "0")) == 0
    probed = {"gpu": probe_gpu(gpu, uuid), "cpu": probe_cpu(cpu) if first else ProbeResult(Source("rapl", lambda: 0.0))}
    if require is not None and probed[require].source is None:
        raise ConfigError(
            f"energy.require={require}: {probed[require].why_not}; type energy.require=null to run without it"
        )
    return Meter(
        probed["gpu"],
        probed["cpu"],
        uuid=uuid,
        synchronise=(lambda: torch.cuda.synchronize(device)) if probed["gpu"].source is not None else lambda: None,
        combine=_all_ranks if distributed.size() > 1 else None,
        idle_seconds=idle_seconds,
        carbon=None if carbon_intensity is None else Carbon(carbon_intensity, carbon_source),
    )


def _all_ranks(own: Measurement) -> Measurement:
    """Sums the measurements of all ranks; a figure that one rank does not know is unknown."""
    joules = torch.tensor([nan if j is None else j for j in (own.gpu, own.cpu)], dtype=torch.float64)
    gpu, cpu = (None if isnan(j) else j for j in distributed.all_reduce_sum(joules).tolist())
    return Measurement(own.seconds, gpu, cpu)


def gpu_uuid(device: torch.device) -> str | None:
    """Returns the UUID of an NVIDIA GPU, None for other devices. `CUDA_VISIBLE_DEVICES` would renumber an index."""
    if device.type != "cuda" or torch.version.hip is not None:
        return None
    return str(torch.cuda.get_device_properties(device).uuid)


def gpu_facts(device: torch.device, nvml: Any = None) -> dict[str, Any]:
    """Returns driver, power limit and clocks of the training GPU; empty if there is none or NVML cannot find it."""
    uuid = gpu_uuid(device)
    if uuid is None:
        return {}
    try:
        gpu = find_gpu(uuid, nvml)
    except Exception:
        return {}
    try:
        return gpu.facts()
    finally:
        gpu.close()
