"""Whole runs on a GPU: nothing in a step waits for it, and its joules are measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from no_reads import strict
from run_tools import WITHOUT_SYNC, run

from ast_experiments.data.in_memory.transforms import DeviceCropper
from ast_experiments.energy.build import gpu_uuid
from ast_experiments.energy.probe import probe_gpu
from ast_experiments.training.loop import Trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

METHODS = {"mixed": ["recipe.mixup=0.2", "recipe.cutmix=1.0"], **WITHOUT_SYNC}


@contextmanager
def no_waiting() -> Iterator[None]:
    """While inside, waiting for the device is an error."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("overrides", METHODS.values(), ids=METHODS.keys())
def test_a_step_does_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str]) -> None:
    monkeypatch.setattr(
        Trainer, "_step", strict(Trainer._step, lambda run: run.progress.step > 1, no_waiting)
    )  # libraries start in the first
    monkeypatch.setattr(DeviceCropper, "apply", strict(DeviceCropper.apply, watch=no_waiting))
    assert run(tmp_path, ["hardware.device=cuda", "hardware.deterministic=false", *overrides])["status"] == "finished"


@pytest.mark.parametrize("precision", ["bfloat16", "float16", "float32"])
def test_a_run_learns_in_every_precision(tmp_path: Path, precision: str) -> None:
    result = run(
        tmp_path,
        ["hardware.device=cuda", f"hardware.precision={precision}", "dataset.train_rows=null", "recipe.epochs=20"],
    )
    assert result["final_accuracy"] > 90


def test_the_joules_of_a_run(tmp_path: Path) -> None:
    if (found := probe_gpu("auto", gpu_uuid(torch.device("cuda")))).source is None:
        pytest.skip(found.why_not)
    found.source.close()
    overrides = ["hardware.device=cuda", "dataset.train_rows=null", "recipe.epochs=60", "energy.idle_seconds=1"]
    energy = run(tmp_path, overrides)["energy"]
    assert energy["source"] == found.source.label
    assert 0 < energy["gpu_joules_above_idle"] < energy["gpu_joules"]
    assert 20 < energy["idle_power_w"] < 500
