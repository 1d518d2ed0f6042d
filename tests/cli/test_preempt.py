"""A job that submitit runs is preempted in the middle, queued again, and ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SHORT = ["recipe.epochs=20", "dataset.train_rows=300", "tracking=jsonl", "tracking.report=false"]
CODE = "from ast_experiments.cli.train import main; main()"


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for the job's process in /proc")
def test_a_preempted_job_is_queued_again_and_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    sweep = tmp_path / "outputs" / "sweeps" / "mine"
    command = ["-m", "hydra/launcher=submitit_local", "hydra.launcher.timeout_min=60", "group=mine", "seed=3", *SHORT]
    waiting = subprocess.Popen([sys.executable, "-c", CODE, *command], cwd=tmp_path, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not list(sweep.glob("*seed=3*/checkpoints/last.pt")):
        assert waiting.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    (log,) = sweep.glob(".submitit/*/*_log.out")
    (task,) = children(int(log.name.partition("_")[0]))
    os.kill(task, signal.SIGUSR2)
    assert waiting.wait(timeout=300) == 0
    (folder,) = sweep.glob("*seed=3*")
    result = json.loads((folder / "result.json").read_text())
    assert (result["status"], result["resumed"], result["epochs"]) == ("finished", 1, 20)
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)
    assert len(set(steps)) >= result["steps"] == steps[-1]
    assert log.read_text().count("Requeued job") == 1
