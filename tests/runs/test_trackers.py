"""What a run says before it starts."""

from __future__ import annotations

from typing import Any

import pytest

from ast_experiments.runs.trackers import busy_cores


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
