"""Nothing in a step reads back from the device: seen on a CPU, where such reads are operations like others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from no_reads import NoReads, strict
from run_tools import WITHOUT_SYNC, run
from torch import Tensor

from ast_experiments.data.in_memory.transforms import DeviceCropper
from ast_experiments.training.loop import Trainer


@pytest.mark.parametrize("overrides", WITHOUT_SYNC.values(), ids=WITHOUT_SYNC.keys())
def test_a_step_reads_nothing_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str]) -> None:
    monkeypatch.setattr(Trainer, "_step", strict(Trainer._step, lambda run: run.progress.step > 0))
    monkeypatch.setattr(DeviceCropper, "apply", strict(DeviceCropper.apply))
    assert run(tmp_path, ["hardware.device=cpu", *overrides])["status"] == "finished"


@pytest.mark.parametrize(
    "read",
    [lambda x: x.sum().item(), lambda x: x[x > 0], lambda x: bool(x.any())],
)
def test_reads_are_seen(read: Callable[[Tensor], Any]) -> None:
    with pytest.raises(AssertionError), NoReads():
        read(torch.ones(3))
