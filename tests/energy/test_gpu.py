"""A real GPU: its counter, and its counter against its power."""

from __future__ import annotations

import time

import pytest
import torch

from ast_experiments.energy.build import build_meter, gpu_facts, gpu_uuid
from ast_experiments.energy.probe import probe_gpu

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def work(seconds: float) -> None:
    """Multiply matrices for a while."""
    a = torch.randn(4096, 4096, device="cuda")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in range(20):
            a = torch.nn.functional.normalize(a @ a)
        torch.cuda.synchronize()


def test_the_counter_increases() -> None:
    found = probe_gpu("nvml", gpu_uuid(torch.device("cuda")))
    if found.source is None:
        pytest.skip(found.why_not)
    before = found.source.read()
    work(2)
    assert found.source.read() - before > 2 * 10
    found.source.close()


@pytest.mark.slow
def test_the_counter_agrees_with_power() -> None:
    uuid = gpu_uuid(torch.device("cuda"))
    counter = probe_gpu("nvml", uuid)
    power = probe_gpu("nvml_power", uuid)
    if counter.source is None or power.source is None:
        pytest.skip(counter.why_not or power.why_not)
    work(2)
    counted, integrated = counter.source.read(), power.source.read()
    for _ in range(6):
        work(7)
        time.sleep(3)
    counted, integrated = counter.source.read() - counted, power.source.read() - integrated
    assert integrated == pytest.approx(counted, rel=0.05)
    counter.source.close()
    power.source.close()


def test_the_meter_of_a_gpu() -> None:
    device = torch.device("cuda")
    meter = build_meter(
        device,
        gpu="auto", cpu="none", require=None, idle_seconds=1.0, carbon_intensity=None, carbon_source=None,
    )  # fmt: skip
    torch.zeros(1, device=device)
    meter.start()
    work(3)
    meter.end_window("train")
    row = meter.row()
    assert 0 < row["energy/gpu_joules_above_idle"] < row["energy/gpu_joules"]
    assert row["energy/gpu_power_w"] == pytest.approx(row["energy/gpu_joules"] / 3, rel=0.2)
    assert {"driver", "gpu_power_limit_w"} <= set(gpu_facts(device))
    meter.close()
