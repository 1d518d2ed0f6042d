"""kill -9 at random moments: what is resumed, there or in another place, ends as a run that was never killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from run_tools import assert_same_run

from ast_experiments.comparison.runs import load

pytestmark = pytest.mark.slow

RUN = [
    "experiment=cifar10_stale",
    "tracking=jsonl",
    "tracking.report=false",
    "dataset.val_rows=100",
    "recipe.epochs=5",
    "checkpoint_every_s=0.3",
    "hardware.threads=1",
]
KILLS = int(os.environ.get("AST_KILLS", "2"))


def start(module: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", f"ast_experiments.cli.{module}", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def wait_for(path: Path, size: float, process: subprocess.Popen[bytes]) -> None:
    while not (path.exists() and path.stat().st_size >= size) and process.poll() is None:
        time.sleep(0.005)


@pytest.mark.timeout(1800)
def test_killed_runs_end_bit_equal(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    real = os.environ.get("AST_DATA_DIR")
    root = Path(real) if real else request.getfixturevalue("tiny_cifar10")
    overrides = [*RUN, f"dataset.root={root}", f"dataset.train_rows={1000 if real else 512}"]
    whole = tmp_path / "whole"
    assert start("train", *overrides, f"hydra.run.dir={whole}").wait() == 0
    length = (whole / "metrics.jsonl").stat().st_size

    rng = random.Random(0)
    for number in range(KILLS):
        broken = tmp_path / f"broken{number}"
        process = start("train", *overrides, f"hydra.run.dir={broken}")
        if number == 0:  # before there is a checkpoint
            wait_for(broken / "result.json", 0, process)
        else:
            wait_for(broken / "metrics.jsonl", rng.uniform(0, 0.6) * length, process)
        time.sleep(rng.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert json.loads((broken / "result.json").read_text())["status"] == "running", "it had ended"
        if number == 1:
            (tmp_path / "far").mkdir()
            broken = broken.rename(tmp_path / "far" / "away")
        resumed = start("resume", str(broken))
        assert resumed.communicate()[1].decode() == ""
        assert resumed.returncode == 0
        assert_same_run(whole, broken)
        read = load([broken])
        assert (len(read.runs), read.notes) == (1, [])
