"""From settings to the meter of a run, and the facts of a GPU that a comparison of joules needs."""

from __future__ import annotations

import os
from math import isnan, nan
from typing import Any

import torch

from ast_experiments.core import distributed
from ast_experiments.core.errors import ConfigError
from ast_experiments.energy.counter import Carbon, Spent
from ast_experiments.energy.meter import Meter
from ast_experiments.energy.nvml import find_gpu
from ast_experiments.energy.probe import Found, Source, probe_cpu, probe_gpu


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
    """Probe what there is, and make the meter of a run on a device.

    Args:
        device: That trains.
        gpu: `auto`, `nvml`, `nvml_power` or `none`.
        cpu: `auto`, `rapl` or `none`.
        require: `gpu` or `cpu` if a run without that meter is worth nothing.
        idle_seconds: How long to measure the GPU's power before anything runs.
        carbon_intensity: Of the electricity, in g/kWh.
        carbon_source: Where that figure is from.

    Raises:
        ConfigError: If a meter that is required is not there.
    """
    uuid = gpu_uuid(device)
    # The processor is shared by the ranks of a machine: the first of them counts it, the others add nothing.
    first = int(os.environ.get("LOCAL_RANK", "0")) == 0
    found = {"gpu": probe_gpu(gpu, uuid), "cpu": probe_cpu(cpu) if first else Found(Source("rapl", lambda: 0.0))}
    if require is not None and found[require].source is None:
        raise ConfigError(
            f"energy.require={require}: {found[require].why_not}; type energy.require=null to run without"
        )
    return Meter(
        found["gpu"],
        found["cpu"],
        uuid=uuid,
        synchronise=(lambda: torch.cuda.synchronize(device)) if found["gpu"].source is not None else lambda: None,
        combine=_all_ranks if distributed.size() > 1 else None,
        idle_seconds=idle_seconds,
        carbon=None if carbon_intensity is None else Carbon(carbon_intensity, carbon_source),
    )


def _all_ranks(own: Spent) -> Spent:
    """The sum over the ranks; what one of them does not know is unknown."""
    joules = torch.tensor([nan if j is None else j for j in (own.gpu, own.cpu)], dtype=torch.float64)
    gpu, cpu = (None if isnan(j) else j for j in distributed.all_reduce_sum(joules).tolist())
    return Spent(own.seconds, gpu, cpu)


def gpu_uuid(device: torch.device) -> str | None:
    """The UUID of an NVIDIA GPU; None for any other device. Never an index: `CUDA_VISIBLE_DEVICES` renumbers."""
    if device.type != "cuda" or torch.version.hip is not None:
        return None
    return str(torch.cuda.get_device_properties(device).uuid)


def gpu_facts(device: torch.device, nvml: Any = None) -> dict[str, Any]:
    """Driver, power limit and clocks of the GPU that trains; empty where there is none or NVML does not show it."""
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
