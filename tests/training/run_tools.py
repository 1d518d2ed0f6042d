"""What tests of runs share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from ast_experiments.compose import compose, typed
from ast_experiments.training.launch import execute
from ast_experiments.training.result import VOLATILE, VOLATILE_ROW

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


def run(folder: Path, overrides: list[str]) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    return execute(typed(compose([*BASE, *overrides])), folder)


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
