"""SIGTERM and SIGHUP, at any moment and more than once: exit code 75, the right name, and how to go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ast_experiments.training.stop import Stop

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


@pytest.fixture(autouse=True)
def not_under_nohup() -> Iterator[None]:
    """Lets commands that tests start receive SIGHUP, even if the tests run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_before_the_training_begins(name: str) -> None:
    started = subprocess.Popen(
        [sys.executable, "-c", SLEEPY], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "ready\n"
    started.send_signal(signal.Signals[name])
    _, errors = started.communicate(timeout=60)
    assert (started.returncode, errors) == (75, f"interrupted: {name}\n")


def test_nohup_is_respected() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stop() as stop:
            signal.raise_signal(signal.SIGHUP)
        assert stop.received is None
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "processes"),
    [
        pytest.param("SIGTERM", 1, marks=pytest.mark.long),
        ("SIGTERM", 2),
        pytest.param("SIGHUP", 1, marks=pytest.mark.long),
        pytest.param("SIGHUP", 2, marks=pytest.mark.long),
    ],
)
def test_twice_within_a_moment(tmp_path: Path, name: str, processes: int) -> None:
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
        os.kill(started.pid, signal.Signals[name])
        time.sleep(0.2)
    _, errors = started.communicate(timeout=300)
    result = json.loads((folder / "result.json").read_text())
    assert started.returncode == 75
    assert errors.splitlines()[-1] == f"interrupted: {name}; resume with: ast-resume run"
    assert (result["status"], result["error"]) == ("interrupted", f"stopped by {name}")
    assert (folder / "checkpoints" / "last.pt").is_file()
