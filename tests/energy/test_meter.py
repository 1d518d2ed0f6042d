"""The meter of a run, with a fake clock and GPU."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable
from typing import Any

import pytest
import torch
from energy_fakes import UUID, Clock, FakeNvml

from ast_experiments.energy.build import _all_ranks, build_meter
from ast_experiments.energy.counter import Carbon, Measurement
from ast_experiments.energy.meter import Meter
from ast_experiments.energy.probe import ProbeResult, Source, probe_gpu
from ast_experiments.energy.time_to_accuracy import TimeToAccuracy

NO_CPU = ProbeResult(None, "no counters")
NO_GPU = ProbeResult(None, "no NVIDIA GPU in use")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def nvml(clock: Clock) -> FakeNvml:
    return FakeNvml(clock)


def meter_of(nvml: FakeNvml, clock: Clock, uuid: str = UUID, **settings: Any) -> Meter:
    gpu = probe_gpu("nvml", UUID, nvml=nvml, sleep=clock.sleep)
    return Meter(gpu, settings.pop("cpu", NO_CPU), uuid=uuid, clock=clock, sleep=clock.sleep, **settings)


def test_a_run(clock: Clock, nvml: FakeNvml) -> None:
    synchronised: list[float] = []
    cpu = ProbeResult(Source("rapl", lambda: 30 * clock()))
    nvml.watts = 40.0
    meter = meter_of(nvml, clock, cpu=cpu, idle_seconds=5, synchronise=lambda: synchronised.append(clock()))
    meter.start()
    synchronised.clear()

    def spend(watts: float, seconds: float, phase: str) -> None:
        nvml.offset += (nvml.watts - watts) * clock()  # the counter goes on from where it is
        nvml.watts = watts
        clock.sleep(seconds)
        meter.end_window(phase)

    spend(200, 10, "train")
    spend(100, 2, "val")
    first = meter.row()
    spend(300, 10, "train")
    spend(100, 2, "val")
    second = meter.row()
    assert len(synchronised) == 4
    assert first == pytest.approx(
        {
            "energy/gpu_joules": 2200,
            "energy/gpu_joules_above_idle": 2200 - 40 * 12,
            "energy/cpu_joules": 360,
            "energy/gpu_power_w": 2200 / 12,
        }
    )
    assert second["energy/gpu_joules"] == pytest.approx(5400)
    assert second["energy/gpu_power_w"] == pytest.approx(3200 / 12)
    spend(100, 1, "train")
    result = json.loads(json.dumps(meter.result()))
    assert result.pop("by_phase") == {
        "train": pytest.approx({"seconds": 21, "gpu_joules": 5100, "cpu_joules": 630}),
        "val": pytest.approx({"seconds": 4, "gpu_joules": 400, "cpu_joules": 120}),
    }
    assert result == {
        "source": "nvml",
        "cpu_source": "rapl",
        "why_not": None,
        "gpu_joules": pytest.approx(5500),
        "gpu_joules_above_idle": pytest.approx(5500 - 40 * 25),
        "cpu_joules": pytest.approx(750),
        "idle_power_w": pytest.approx(40),
    }
    meter.close()
    meter.close()


@pytest.mark.parametrize(("seconds", "measured"), [(0.05, False), (0.19, False), (0.2, True), (0.35, True)])
def test_short_windows(seconds: float, measured: bool, clock: Clock, nvml: FakeNvml) -> None:
    meter = meter_of(nvml, clock)
    meter.start()
    clock.sleep(10)
    meter.end_window("train")
    meter.row()
    clock.sleep(seconds)
    meter.end_window("val")
    row = meter.row()
    assert ("energy/gpu_power_w" in row) == measured
    assert list(meter.result()["by_phase"]) == ["train", "val"][: 1 + measured]
    assert meter.joules() == pytest.approx(meter.joules("train") + meter.joules("val"))
    assert row["energy/gpu_joules"] == pytest.approx(100 * (10 + seconds), abs=10)


def test_a_short_run_is_not_measured(clock: Clock, nvml: FakeNvml) -> None:
    meter = meter_of(nvml, clock)
    meter.start()
    clock.sleep(0.1)
    meter.end_window("train")
    assert meter.row() == {}
    assert meter.result() == {
        "source": None,
        "cpu_source": None,
        "why_not": "GPU: the run was too short, or a rank had no meter; CPU: no counters",
    }


def test_adjacent_windows_add_up(clock: Clock, nvml: FakeNvml) -> None:
    meter = meter_of(nvml, clock)
    meter.start()
    for seconds in (0.37, 1.21, 0.53, 2.08, 0.44) * 5:
        clock.sleep(seconds)
        meter.end_window("train" if seconds > 1 else "val")
    result = meter.result()
    phases = result["by_phase"]
    assert sum(phase["gpu_joules"] for phase in phases.values()) == pytest.approx(result["gpu_joules"])
    assert sum(phase["seconds"] for phase in phases.values()) == pytest.approx(4.63 * 5)
    assert result["gpu_joules"] == pytest.approx(100 * 4.63 * 5, abs=10)


def _reset(nvml: FakeNvml) -> None:
    nvml.offset = -1e6


def _refuse(nvml: FakeNvml) -> None:
    nvml.missing = ("energy",)


@pytest.mark.parametrize(("harm", "reason"), [(_reset, "nvml went backwards by"), (_refuse, "nvml failed: Not Supp")])
def test_a_counter_that_breaks(
    harm: Callable[[FakeNvml], None], reason: str, clock: Clock, nvml: FakeNvml, caplog: pytest.LogCaptureFixture
) -> None:
    meter = meter_of(nvml, clock)
    meter.start()
    clock.sleep(5)
    meter.end_window("train")
    assert "energy/gpu_joules" in meter.row()
    harm(nvml)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            clock.sleep(5)
            meter.end_window("train")
            assert meter.row() == {}
    assert len(caplog.records) == 1
    result = meter.result()
    assert result["source"] is None
    assert not any("joules" in key for key in result)
    assert result["why_not"].startswith(f"GPU: {reason}")
    assert nvml.users == 0


def test_a_device_that_fails_does_not_stop_the_meter(clock: Clock, nvml: FakeNvml) -> None:
    def fail() -> None:
        raise RuntimeError("CUDA error: unspecified launch failure")

    meter = meter_of(nvml, clock)
    meter.start()
    meter._synchronise = fail
    clock.sleep(5)
    assert meter.result()["why_not"].startswith("GPU: the device failed: CUDA error")


def test_an_interrupted_run_goes_on_counting(clock: Clock, nvml: FakeNvml) -> None:
    meter = meter_of(nvml, clock, idle_seconds=1)
    meter.start()
    clock.sleep(10)
    meter.end_window("train")
    meter.row()
    clock.sleep(4)
    state = json.loads(json.dumps(meter.state_dict()))
    clock.sleep(50)  # lost: after the checkpoint
    nvml.offset = -90_000.0  # and the machine was started anew
    again = meter_of(nvml, clock)
    again.start()
    again.load_state_dict(state)
    clock.sleep(6)
    again.end_window("train")
    row = again.row()
    assert row["energy/gpu_joules"] == pytest.approx(2000)
    assert row["energy/gpu_joules_above_idle"] == pytest.approx(0, abs=1e-6)
    assert again.measures
    assert again.joules() == again.joules("train") == pytest.approx(2000)
    assert row["energy/gpu_power_w"] == pytest.approx(100)
    assert again.result()["by_phase"]["train"] == pytest.approx({"seconds": 20, "gpu_joules": 2000})


def test_joules_of_two_meters_are_not_added_up(clock: Clock, nvml: FakeNvml) -> None:
    meter = meter_of(nvml, clock)
    meter.start()
    clock.sleep(10)
    state = meter.state_dict()
    other = meter_of(nvml, clock, uuid="another")
    other.start()
    other.load_state_dict(state)
    clock.sleep(10)
    assert other.result()["why_not"] == "GPU: an earlier part of the run used another meter; CPU: no counters"
    none = Meter(NO_GPU, NO_CPU)
    none.start()
    late = meter_of(nvml, clock)
    late.start()
    late.load_state_dict(none.state_dict())
    clock.sleep(10)
    assert late.result()["why_not"].startswith("GPU: an earlier part of the run was not measured")


def test_ranks_add_up(clock: Clock, nvml: FakeNvml) -> None:
    def combine(own: Measurement) -> Measurement:
        return Measurement(own.seconds, None if own.gpu is None else own.gpu + 1000, None)

    meter = meter_of(nvml, clock, combine=combine, cpu=ProbeResult(Source("rapl", clock)))
    meter.start()
    clock.sleep(10)
    meter.end_window("train")
    clock.sleep(10)
    assert meter.row()["energy/gpu_joules"] == pytest.approx(2000)
    result = meter.result()
    assert result["gpu_joules"] == pytest.approx(2000)
    assert result["cpu_source"] is None
    assert meter.state_dict()["spent"]["gpu"] == pytest.approx(2000)  # its own, 20 seconds


def test_what_a_rank_does_not_know_is_unknown() -> None:
    assert _all_ranks(Measurement(3.0, None, 5.0)) == Measurement(3.0, None, 5.0)


def test_carbon(clock: Clock, nvml: FakeNvml) -> None:
    meter = meter_of(nvml, clock, carbon=Carbon(400.0, "a national mean of 2025"))
    meter.start()
    clock.sleep(3600)
    meter.end_window("train")
    assert meter.row()["carbon/gco2e"] == pytest.approx(0.1 * 400)
    expected = {"gco2e": pytest.approx(40), "g_per_kwh": 400.0, "source": "a national mean of 2025"}
    assert meter.result()["carbon"] == expected
    nothing = Meter(NO_GPU, NO_CPU, carbon=Carbon(400.0, "x"), clock=clock)
    clock.sleep(10)
    nothing.end_window("train")
    assert nothing.row() == {}
    assert "carbon" not in nothing.result()


def test_nothing_measurable(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    meter = build_meter(
        torch.device("cpu"),
        gpu="auto", cpu="none", require=None, idle_seconds=30.0, carbon_intensity=100.0, carbon_source="x",
    )  # fmt: skip
    meter.start()
    meter.end_window("train")
    assert meter.row() == {}
    assert meter.joules() is None
    assert meter.joules("train") is None
    assert not meter.measures
    assert set(meter.result()) == {"source", "cpu_source", "why_not"}
    meter.close()


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (None, {}),
        (70.0, {"target_reached": True, "seconds_to_accuracy": 20.0, "joules_to_accuracy": 2000.0}),
        (72.5, {"target_reached": True, "seconds_to_accuracy": 30.0, "joules_to_accuracy": None}),
        (90.0, {"target_reached": False, "seconds_to_accuracy": None, "joules_to_accuracy": None}),
    ],
)
def test_a_goal(wanted: float | None, expected: dict[str, Any]) -> None:
    goal = TimeToAccuracy(wanted)
    for accuracy, seconds, joules in (
        (50.0, 10.0, 1000.0),
        (71.0, 20.0, 2000.0),
        (75.0, 30.0, None),
        (72.0, 40.0, 1.0),
    ):
        goal.note(accuracy, seconds, joules)
        state = goal.state_dict()
        goal = TimeToAccuracy(wanted)
        goal.load_state_dict(state)
    assert goal.result() == expected | ({} if wanted is None else {"target_accuracy": wanted})
