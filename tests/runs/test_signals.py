"""A method's own signals reach the record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from run_tools import run

from ast_experiments.selection.methods.random import Random


def test_a_new_signal_reaches_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Random, "signals", lambda self: {"mine/margin": 0.25, "mine/kept": 1.0})
    monkeypatch.setattr(Random, "averaged", frozenset({"mine/kept"}))
    run(tmp_path, ["method=random", "recipe.epochs=1", "tracking.log_every=2"])
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    steps, (epoch,) = rows[:-1], rows[-1:]
    assert steps
    assert all((row["mine/margin"], row["mine/kept"]) == (0.25, 1.0) for row in steps)
    assert epoch["epoch/kept_share"] == 1.0
