"""Energy in a run's files: measured, interrupted and resumed, and absent where nothing measures."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from run_tools import run

from ast_experiments.analysis.reporting import reporting
from ast_experiments.core.errors import ConfigError, UserError
from ast_experiments.energy.counter import Carbon
from ast_experiments.energy.meter import Meter
from ast_experiments.energy.probe import ProbeResult, Source
from ast_experiments.runs import build
from ast_experiments.training.loop import Trainer

WATTS, SPEED = 100.0, 1000.0


def clock() -> float:
    """A clock that is fast enough for the epochs of a test to be longer than a meter's period."""
    return SPEED * time.monotonic()


@pytest.fixture
def metered(monkeypatch: pytest.MonkeyPatch) -> list[Meter]:
    """Runs get a GPU of constant power; the meters are collected here."""
    meters: list[Meter] = []

    def make(*_: Any, **__: Any) -> Meter:
        gpu = ProbeResult(Source("nvml", lambda: WATTS * clock()))
        settings: dict[str, Any] = {"uuid": "a", "idle_seconds": 10.0, "carbon": Carbon(360.0, "a guess")}
        cpu = ProbeResult(None, "no counters")
        meters.append(Meter(gpu, cpu, **settings, clock=clock, sleep=lambda s: time.sleep(s / SPEED)))
        return meters[-1]

    monkeypatch.setattr(build, "build_meter", make)
    return meters


def epochs_of(folder: Path) -> list[dict[str, Any]]:
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [row for row in rows if row["kind"] == "epoch"]


def test_joules_of_a_run(tmp_path: Path, metered: list[Meter]) -> None:
    result = run(tmp_path, ["energy.target_accuracy=5"])
    energy, rows = result["energy"], epochs_of(tmp_path)
    assert (energy["source"], energy["cpu_source"], energy["why_not"]) == ("nvml", None, "CPU: no counters")
    assert energy["idle_power_w"] == pytest.approx(WATTS, rel=0.05)
    joules = [row["energy/gpu_joules"] for row in rows]
    assert joules == sorted(joules)
    assert 0 < joules[0] < joules[-1] <= energy["gpu_joules"]
    assert energy["gpu_joules_above_idle"] == pytest.approx(0, abs=0.05 * energy["gpu_joules"])
    assert [row["energy/gpu_power_w"] for row in rows] == pytest.approx([WATTS] * 4, rel=0.05)
    assert rows[-1]["carbon/gco2e"] == pytest.approx(joules[-1] / 3.6e6 * 360)
    phases = energy["by_phase"]
    assert set(phases) == {"train", "val"}
    assert phases["train"]["gpu_joules"] + phases["val"]["gpu_joules"] == pytest.approx(joules[-1])
    assert sum(energy["apportioned"].values()) == pytest.approx(phases["train"]["gpu_joules"])
    assert "val" not in energy["apportioned"]
    assert result["target_reached"]
    assert 0 < result["joules_to_accuracy"] <= joules[-1]
    assert 0 < result["seconds_to_accuracy"] <= sum(result["seconds"].values())


def test_joules_outlive_an_interruption(tmp_path: Path, metered: list[Meter], monkeypatch: pytest.MonkeyPatch) -> None:
    end_epoch = Trainer._commit

    def dies(self: Trainer, *args: Any) -> None:
        if self.progress.epoch == 2:
            raise RuntimeError("killed")
        end_epoch(self, *args)

    monkeypatch.setattr(Trainer, "_commit", dies)
    monkeypatch.setattr("ast_experiments.training.checkpoint.SHARE", float("inf"))  # one at every epoch's end
    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path, [])
    monkeypatch.setattr(Trainer, "_commit", end_epoch)
    before = epochs_of(tmp_path)[-1]["energy/gpu_joules"]
    result = run(tmp_path, [])
    joules = [row["energy/gpu_joules"] for row in epochs_of(tmp_path)]
    assert len(metered) == 2
    assert len(joules) == 4
    assert joules[1] == before
    assert joules == sorted(joules)
    assert result["energy"]["gpu_joules"] >= joules[-1]
    assert sum(each["gpu_joules"] for each in result["energy"]["by_phase"].values()) == pytest.approx(joules[-1])


def by_rows(monkeypatch: pytest.MonkeyPatch, *, fails_at: float = float("inf")) -> None:
    """Runs get a GPU that takes 2 J for a trained row, and whose meter may fail."""
    runs: list[Trainer] = []
    monkeypatch.setattr(
        Trainer, "__post_init__", lambda self, after=Trainer.__post_init__: (after(self), runs.append(self))
    )

    def energy() -> float:
        joules = 2.0 * runs[-1].log.trained if runs else 0.0
        if joules > fails_at:
            raise OSError("GPU is lost")
        return joules

    def make(*_: Any, **__: Any) -> Meter:
        return Meter(ProbeResult(Source("nvml", energy)), ProbeResult(None, "no counters"), uuid="a", clock=clock)

    monkeypatch.setattr(build, "build_meter", make)


def test_a_budget_in_joules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_rows(monkeypatch)
    result = run(tmp_path, ["recipe.epochs=8", "method.budget.joules=3000"])
    assert result["budget"]["of"] == pytest.approx(1, abs=0.05)
    assert result["budget"]["spent"] == pytest.approx(result["energy"]["gpu_joules"])


def test_a_budget_whose_meter_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_rows(monkeypatch, fails_at=1000)
    with pytest.raises(UserError, match=r"method\.budget\.joules: joules are no longer measured"):
        run(tmp_path, ["recipe.epochs=8", "method.budget.joules=3000"])


def test_nothing_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    # A processor's counters may well be there where this test runs.
    overrides = ["hardware.device=cpu", "energy.cpu=none", "energy.target_accuracy=5", "tracking.report=true"]
    with reporting(tmp_path):
        result = run(tmp_path, [*overrides, "tracking.wandb=disabled"])
    assert result["status"] == "finished"
    assert result["energy"] == {
        "source": None,
        "cpu_source": None,
        "why_not": "GPU: no NVIDIA GPU in use; CPU: CPU metering is off",
    }
    assert result["joules_to_accuracy"] is None
    assert result["seconds_to_accuracy"] > 0
    for row in epochs_of(tmp_path):
        assert not [key for key in row if "joules" in key or "power" in key or "carbon" in key]
    report = (tmp_path / "report.html").read_text()
    assert "not measured on this machine" in report
    assert "no NVIDIA GPU in use" in report


def test_a_meter_that_is_required(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"energy\.require=gpu: no NVIDIA GPU in use"):
        run(tmp_path, ["hardware.device=cpu", "energy.require=gpu"])
