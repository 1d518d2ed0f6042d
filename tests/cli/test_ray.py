"""A sweep on a Ray cluster of two workers, one of which is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SWEEP = [
    "-m", "hydra/launcher=ray", "group=r", "seed=0,1,2,3,4,5", "dataset.train_rows=300", "recipe.epochs=30",
    "tracking=jsonl", "tracking.report=false", "hardware.threads=1",
]  # fmt: skip


def owner(run: Path) -> int:
    return json.loads((run / ".owner").read_text())["pid"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_job_of_a_worker_that_is_killed_goes_on_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    sweep = tmp_path / "outputs/sweeps/r"
    command = [sys.executable, "-m", "ast_experiments.cli.train", *SWEEP]
    environment = os.environ | {"RAY_worker_niceness": "0"}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
    while not (saved := list(sweep.glob("*/checkpoints/last.pt"))) and process.poll() is None:
        time.sleep(0.02)
    killed = saved[0].parents[1]
    os.kill(owner(killed), signal.SIGKILL)
    assert process.wait() == 0
    results = {path.parent: json.loads(path.read_text()) for path in sorted(sweep.glob("*/result.json"))}
    assert {result["seed"] for result in results.values()} == set(range(6))
    assert {result["status"] for result in results.values()} == {"finished"}
    assert {run for run, result in results.items() if result["resumed"]} == {killed}
