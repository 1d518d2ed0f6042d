"""SIGTERM, at any moment and more than once: exit code 75, the right name, and how to go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CODE = "from ast_experiments.cli.train import main; main()"
LONG = ["recipe.epochs=3000", "recipe.batch_size=16", "tracking=jsonl", "tracking.report=false", "hardware=cpu"]
SLEEPY = """
import sys, time
from ast_experiments.cli.main import guarded
def command():
    print("ready", flush=True)
    time.sleep(60)
sys.exit(guarded(command))
"""


def test_before_the_training_begins() -> None:
    started = subprocess.Popen(
        [sys.executable, "-c", SLEEPY], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "ready\n"
    started.terminate()
    _, errors = started.communicate(timeout=60)
    assert (started.returncode, errors) == (75, "interrupted: SIGTERM\n")


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_twice_within_a_moment(tmp_path: Path, processes: int) -> None:
    folder = tmp_path / "run"
    arguments = [*LONG, f"hardware.processes={processes}", f"hydra.run.dir={folder}"]
    started = subprocess.Popen(
        [sys.executable, "-c", CODE, *arguments], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    record = folder / "metrics.jsonl"
    deadline = time.monotonic() + 500
    while not record.is_file() or record.stat().st_size < 5000:
        assert started.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for _ in range(2):
        os.kill(started.pid, signal.SIGTERM)
        time.sleep(0.2)
    _, errors = started.communicate(timeout=300)
    result = json.loads((folder / "result.json").read_text())
    assert started.returncode == 75
    assert errors.splitlines()[-1] == "interrupted: SIGTERM; resume with: ast-resume run"
    assert (result["status"], result["error"]) == ("interrupted", "stopped by SIGTERM")
    assert (folder / "checkpoints" / "last.pt").is_file()
