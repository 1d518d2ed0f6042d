"""What tests of runs share."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from ast_experiments.config.compose import load_config
from ast_experiments.config.schema import Config
from ast_experiments.core.errors import Interrupted
from ast_experiments.runs.result import VOLATILE, VOLATILE_ROW
from ast_experiments.runs.resume import resume as continued
from ast_experiments.runs.resume import saved_config
from ast_experiments.runs.run import execute
from ast_experiments.training.loop import Trainer

BASE = [
    "tracking=jsonl",
    "tracking.console=false",
    "tracking.report=false",
    "dataset.train_rows=400",
    "recipe.epochs=4",
    "energy.idle_seconds=0",
    # On a GPU, two runs are only equal with deterministic algorithms.
    f"hardware.deterministic={torch.cuda.is_available()}".lower(),
]


LAW = ["controller=sundew_two_stage", "controller.low=0.01", "controller.start=2.0"]
WITHOUT_SYNC = {
    "dense": ["method=dense"],
    "random": ["method=random"],
    "rs2": ["method=rs2"],
    "infobatch": ["method=infobatch"],
    "stale": [],
    "stale, proportional, reweighted": ["method.pick=proportional", "method.reweight=true"],
    "stale, published law": ["controller=sundew_report", "significance=loss_intensity"],
    "masked": ["method=ast_masked", *LAW],
    "masked, with a fallback": ["method=ast_masked", "controller=sundew_comparison", "method.rate=0.1"],
    "clipped, averaged": ["recipe.clip_grad=1", "recipe.ema_decay=0.9"],
}
"""Runs that never wait for the device."""


def run(folder: Path, overrides: list[str]) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    return execute(composed(*BASE, *overrides), folder)


@cache
def composed(*overrides: str) -> Config:
    """The config of overrides, which tests run again and again; it is frozen."""
    return load_config(overrides)


def resume(folder: Path, changes: Sequence[str] = ()) -> None:
    continued(folder, saved_config(folder, changes))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / "last.pt", weights_only=True)["model"]


def stable_rows(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in VOLATILE_ROW and not k.startswith("time/")} for row in rows]


def stable_result(folder: Path) -> dict[str, Any]:
    result = json.loads((folder / "result.json").read_text())
    return {k: v for k, v in result.items() if k not in VOLATILE}


def assert_same_run(one: Path, other: Path) -> None:
    mine, theirs = weights(one), weights(other)
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        assert torch.equal(tensor, theirs[name]), name
    assert stable_rows(one) == stable_rows(other)
    assert stable_result(one) == stable_result(other)


def stops_until_done(run: Callable[[], object], most: int = 10) -> int:
    """Starts a run again after each interruption, until it ends; returns how often it was stopped."""
    for stops in range(most):
        try:
            run()
        except Interrupted:
            continue
        return stops
    return most


def interrupt_at(monkeypatch: pytest.MonkeyPatch, steps: set[int]) -> None:
    """Send SIGTERM to this process when a step of `steps` begins; each once."""
    step = Trainer._step

    def noisy(self: Trainer, *args: Any) -> None:
        if self.progress.step in steps:
            steps.discard(self.progress.step)
            os.kill(os.getpid(), signal.SIGTERM)
        step(self, *args)

    monkeypatch.setattr(Trainer, "_step", noisy)
