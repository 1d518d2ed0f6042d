"""Sources of joules: what is probed, what is refused, and how power becomes energy."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from energy_fakes import UUID, Clock, FakeNvml, zone

from ast_experiments.core.errors import ConfigError
from ast_experiments.energy.build import build_meter, gpu_facts, gpu_uuid
from ast_experiments.energy.nvml import find_gpu
from ast_experiments.energy.probe import GPU_LABELS, Integral, Source, probe_cpu, probe_gpu
from ast_experiments.energy.rapl import Rapl, rapl_zones

SETTINGS: dict[str, Any] = {
    "gpu": "auto", "cpu": "none", "require": None, "idle_seconds": 0.0, "carbon_intensity": None, "carbon_source": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "missing", "label", "why_not"),
    [
        ("auto", (), "nvml", ""),
        ("nvml", (), "nvml", ""),
        ("nvml_power", (), "nvml_power", ""),
        # A chip may be of any architecture: what counts is what it answers.
        ("auto", ("energy",), "nvml_power", ""),
        ("auto", ("movement",), "nvml_power", ""),
        ("auto", ("energy", "instant"), "nvml_average_power", ""),
        ("nvml_power", ("instant",), "nvml_average_power", ""),
        ("nvml", ("energy",), None, "nvml: Not Supported"),
        ("nvml", ("movement",), None, "nvml: the reading does not change"),
        (
            "auto",
            ("energy", "instant", "average"),
            None,
            "nvml: Not Supported; nvml_power: no instantaneous power; nvml_average_power: Not Supported",
        ),
        ("auto", ("library",), None, "NVML cannot find the GPU (NVML Shared Library Not Found)"),
        ("auto", ("gpu",), None, "NVML cannot find the GPU (Not Found)"),
        ("none", ("library",), None, "GPU metering is off"),
    ],
)
def test_probe_of_a_gpu(wanted: str, missing: tuple[str, ...], label: str | None, why_not: str) -> None:
    clock = Clock()
    nvml = FakeNvml(clock, missing=missing)
    found = probe_gpu(wanted, UUID, nvml=nvml, sleep=lambda s: (time.sleep(0.001), clock.sleep(s))[0])
    assert (found.source and found.source.label, found.why_not) == (label, why_not)
    if found.source is not None:
        assert nvml.users == 1
        found.source.close()
        found.source.close()
    assert nvml.users == 0


@pytest.mark.parametrize("watts", [0.0, float("nan")])
def test_a_gpu_that_reports_no_power_is_not_measured(watts: float) -> None:
    nvml = FakeNvml(Clock(), watts=watts, missing=("energy",))
    assert probe_gpu("auto", UUID, nvml=nvml, sleep=lambda _: None).source is None


def test_no_gpu_trains() -> None:
    assert probe_gpu("auto", None, nvml=object()).why_not == "no NVIDIA GPU in use"
    assert gpu_uuid(torch.device("cpu")) is None
    assert gpu_facts(torch.device("cpu"), nvml=object()) == {}


@pytest.mark.parametrize("visible", ["", "-1"])
def test_hidden_gpus(visible: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    result = build_meter(torch.device("cpu"), **SETTINGS).result()
    assert result == {
        "source": None,
        "cpu_source": None,
        "why_not": "GPU: no NVIDIA GPU in use; CPU: CPU metering is off",
    }


@pytest.mark.parametrize("prefix", ["", "GPU-"])
def test_a_gpu_is_found_by_its_uuid(prefix: str) -> None:
    nvml = FakeNvml(Clock())
    gpu = find_gpu(prefix + UUID, nvml)
    assert gpu.handle == f"GPU-{UUID}"
    assert gpu.facts() == {
        "driver": "580.1",
        "gpu_power_limit_w": 250.0,
        "gpu_max_sm_clock_mhz": 1980,
        "gpu_max_memory_clock_mhz": 2619,
    }
    with pytest.raises(LookupError):
        find_gpu("no-such-gpu", nvml)
    gpu.close()
    assert nvml.users == 0


def test_pynvml_has_what_is_asked_of_it() -> None:
    import pynvml

    asked = [name for name in vars(FakeNvml) if name.startswith(("nvml", "NVML_"))]
    assert len(asked) == 13
    assert [name for name in asked if not hasattr(pynvml, name)] == []
    assert FakeNvml.NVML_FI_DEV_POWER_INSTANT == pynvml.NVML_FI_DEV_POWER_INSTANT


@pytest.mark.parametrize(
    ("require", "message"),
    [
        ("gpu", "energy.require=gpu: no NVIDIA GPU in use; type energy.require=null"),
        ("cpu", "energy.require=cpu: CPU metering is off; type energy.require=null"),
    ],
)
def test_a_meter_that_is_required(require: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_meter(torch.device("cpu"), **SETTINGS | {"require": require})


def test_a_ramp_is_integrated_exactly() -> None:
    clock = Clock()
    ramp = Integral(lambda: 50 + 20 * (clock() - 1000), clock)
    rectangle = 0.0
    for step in (0.1, 0.1, 0.3, 1.0, 2.5):
        rectangle += step * (50 + 20 * (clock() - 1000))
        clock.sleep(step)
        ramp.energy()
    assert ramp.energy() == pytest.approx(50 * 4 + 10 * 4**2)
    assert abs(rectangle - ramp.energy()) > 60


def test_a_thread_polls_until_it_is_stopped() -> None:
    power = Integral(lambda: 100.0)
    moments: list[float] = []
    source = Source("nvml_power", lambda: (moments.append(time.monotonic()), power.energy())[1], every=0.02)
    time.sleep(0.25)
    source.close()
    count = len(moments)
    assert 5 <= count <= 13
    time.sleep(0.05)
    assert len(moments) == count
    assert threading.active_count() < 20


def test_what_fails_in_the_thread_is_raised_where_it_is_read() -> None:
    readings = iter([1.0])
    source = Source("nvml_power", lambda: next(readings), every=0.01)
    time.sleep(0.1)
    with pytest.raises(StopIteration):
        source.read()
    source.close()


def test_zones_that_add_up(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    zone(tmp_path, "intel-rapl:0:0", "core", 2)
    zone(tmp_path, "intel-rapl:0:1", "uncore", 3)
    zone(tmp_path, "intel-rapl:0:2", "dram", 500_000)
    zone(tmp_path, "intel-rapl:1", "package-1-die-0", 2_000_000)
    zone(tmp_path, "intel-rapl:1:0", "dram", 0)
    zone(tmp_path, "intel-rapl:2", "psys", 9)
    zone(tmp_path, "intel-rapl:2:0", "dram", 9)
    zone(tmp_path, "intel-rapl-mmio:0", "package-0", 1_000_000)
    (tmp_path / "intel-rapl").mkdir()
    names = [path.name for path in rapl_zones(tmp_path)]
    assert names == ["intel-rapl:0", "intel-rapl:1", "intel-rapl:0:2", "intel-rapl:1:0"]
    rapl = Rapl(tmp_path)
    for folder, microjoules in (("intel-rapl:0", 4_000_000), ("intel-rapl:0:2", 700_000), ("intel-rapl:2", 10**9)):
        (tmp_path / folder / "energy_uj").write_text(str(microjoules))
    assert rapl.energy() == pytest.approx(3.2)
    assert rapl.energy() == pytest.approx(3.2)


def test_rapl_wraps_around(tmp_path: Path) -> None:
    path = zone(tmp_path, "intel-rapl:0", "package-0", 999_000_000, size=1_000_000_000)
    rapl = Rapl(tmp_path)
    for microjoules in (2_000_000, 999_500_000, 500_000):
        (path / "energy_uj").write_text(str(microjoules))
        rapl.energy()
    assert rapl.energy() == pytest.approx(3.0 + 997.5 + 1.0)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda root: None, "rapl: {root} has no energy counters of the CPU"),
        (lambda root: zone(root, "intel-rapl:0", "psys", 1), "rapl: {root} has no energy counters of the CPU"),
        (lambda root: zone(root, "intel-rapl:0", "package-0", 1), "rapl: the reading does not change"),
    ],
)
def test_probe_of_a_cpu(make: Any, reason: str, tmp_path: Path) -> None:
    make(tmp_path)
    found = probe_cpu("auto", tmp_path, sleep=lambda _: None)
    assert (found.source, found.why_not) == (None, reason.format(root=tmp_path))


def test_counters_for_root_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zone(tmp_path, "intel-rapl:0", "package-0", 1) / "energy_uj"
    path.chmod(0o400)
    read_text = Path.read_text

    def refuse(self: Path, *args: Any) -> str:
        if self == path:
            raise PermissionError(13, "Permission denied", str(path))
        return read_text(self, *args)

    monkeypatch.setattr(Path, "read_text", refuse)
    found = probe_cpu("auto", tmp_path, sleep=lambda _: None)
    assert (found.source, found.why_not) == (None, f"rapl: [Errno 13] Permission denied: '{path}'")


def test_rapl_is_found_by_reading_it(tmp_path: Path) -> None:
    path = zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    found = probe_cpu("auto", tmp_path, sleep=lambda _: (path / "energy_uj").write_text("2000000") and None)
    assert found.source is not None
    assert found.source.label == "rapl"
    assert found.source.read() == pytest.approx(1.0)
    found.source.close()


def test_labels_are_those_of_the_table() -> None:
    import ast_experiments.energy.probe as module

    assert module.__doc__ is not None
    assert all(f"| `{label}` |" in module.__doc__ for label in (*GPU_LABELS, "rapl"))
