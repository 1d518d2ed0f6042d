"""What a run says before it starts."""

from __future__ import annotations

from typing import Any

import pytest

from ast_experiments.config.compose import load_config
from ast_experiments.runs.trackers import busy_cores, few_steps


@pytest.mark.parametrize(
    ("hardware", "load", "said"),
    [
        ({"device": "cpu", "threads": 2}, 9.0, True),
        ({"device": "cpu", "threads": 2}, 0.5, False),
        ({"device": "cpu", "threads": 1}, 9.0, False),
        ({"device": "cuda", "threads": 2}, 9.0, False),
    ],
)
def test_busy_cores_are_said(
    hardware: dict[str, Any], load: float, said: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr("os.getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    assert ("hardware.threads=1" in busy_cores(hardware)) == said


@pytest.mark.parametrize(
    ("overrides", "begin"),
    [
        (["method.rate=0.4"], "about 8 training steps in all, which is few: recipe.epochs=67 makes 100;"),
        (["method=dense"], "about 19 training steps in all, which is few: recipe.epochs=27 makes 100;"),
        (["method=dense", "recipe.epochs=27"], ""),
        (["method=dense", "max_steps=3"], ""),
        (["method.budget.samples=300"], ""),
    ],
)
def test_few_steps_are_said(overrides: list[str], begin: str) -> None:
    found = few_steps(load_config(["recipe=finetune", *overrides]), samples=240)
    assert found.startswith(begin)
    assert bool(found) == bool(begin)
