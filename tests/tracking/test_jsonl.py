"""The record: cut on resume, whole after a kill, always valid JSON."""

from __future__ import annotations

import json
import logging
import resource
import signal
import subprocess
import sys
import threading
import time
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ast_experiments.core.errors import DataError
from ast_experiments.tracking import jsonl
from ast_experiments.tracking.jsonl import JsonlTracker

KILLED = """
import os, signal, sys
from ast_experiments.core.errors import DataError
from ast_experiments.tracking.jsonl import JsonlTracker
tracker = JsonlTracker(sys.argv[1])
for step in range(1000):
    tracker.log({"kind": "step", "step": step})
    if step % 100 == 99:
        tracker.flush()
tracker.log({"kind": "step", "step": 1000})
os.kill(os.getpid(), signal.SIGKILL)
"""


def steps(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def flush_until_it_ends(tracker: JsonlTracker) -> None:
    for _ in range(100):
        tracker.flush()
        time.sleep(0.1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def test_rows_are_written_at_flush(path: Path) -> None:
    tracker = JsonlTracker(path)
    tracker.log({"step": 1, "train/loss": np.float32(0.5), "val/loss": float("nan"), "path": path})
    assert not path.exists()
    tracker.flush()
    assert json.loads(path.read_text()) == {"step": 1, "train/loss": 0.5, "path": str(path)}
    tracker.log({"step": 2})
    tracker.finish({"status": "finished"})
    tracker.finish({"status": "finished"})
    assert steps(path) == [1, 2]


def test_resume_cuts_and_rewrites(path: Path) -> None:
    tracker = JsonlTracker(path)
    for step in range(3):
        tracker.log({"step": step})
    state = json.loads(json.dumps(tracker.state_dict()))
    tracker.log({"step": 3, "lost": True})
    tracker.flush()
    with path.open("a") as file:
        file.write('{"step": 4, "to')

    resumed = JsonlTracker(path)
    resumed.load_state_dict(state)
    assert steps(path) == [0, 1, 2]
    resumed.log({"step": 3})
    resumed.flush()
    assert steps(path) == [0, 1, 2, 3]
    assert "lost" not in path.read_text()


@pytest.mark.parametrize("load", [True, False])
def test_a_run_without_a_checkpoint_starts_anew(path: Path, load: bool) -> None:
    path.write_text('{"step": 0}\n{"step": 1}\n{"st')
    tracker = JsonlTracker(path)
    if load:
        tracker.load_state_dict({})
    tracker.log({"step": 7})
    tracker.flush()
    assert steps(path) == [7]


@pytest.mark.parametrize(("content", "kept"), [('{"step": 0}\n{"st', [0]), ("", []), (None, [])])
def test_a_record_shorter_than_its_state(
    path: Path, content: str | None, kept: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    if content is not None:
        path.write_text(content)
    tracker = JsonlTracker(path)
    with caplog.at_level(logging.WARNING):
        tracker.load_state_dict({"offset": 1000})
    assert "rows are missing" in caplog.text
    tracker.log({"step": 9})
    tracker.flush()
    assert steps(path) == [*kept, 9]


def test_rows_wait_while_the_file_cannot_be_written(path: Path) -> None:
    tracker = JsonlTracker(path.parent / "later" / "metrics.jsonl")
    tracker.log({"step": 1})
    with pytest.raises(OSError, match="later"):
        tracker.flush()
    tracker.path.parent.mkdir()
    tracker.flush()
    assert steps(tracker.path) == [1]


def test_flushed_rows_survive_a_kill(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert steps(path) == list(range(1000))


def test_state_is_json(path: Path) -> None:
    tracker = JsonlTracker(path)
    state: dict[str, Any] = tracker.state_dict()
    assert state == {"offset": 0}


@pytest.mark.parametrize("harm", ["removed", "replaced", "removed at the end"])
def test_a_record_that_is_taken_away_is_written_back(path: Path, harm: str, caplog: pytest.LogCaptureFixture) -> None:
    tracker = JsonlTracker(path)
    for step in range(3):
        tracker.log({"step": step})
        tracker.flush()
    path.unlink()
    if harm == "replaced":
        path.write_text('{"step": 9}\n')
    if harm != "removed at the end":
        tracker.log({"step": 3})
        tracker.flush()
    tracker.finish({})
    assert steps(path) == [0, 1, 2] + [3] * (harm != "removed at the end")
    (line,) = caplog.messages
    assert f"was {harm.partition(' ')[0]} while the run writes it; it is written back" in line


def test_a_record_that_is_cut_stops_the_run(path: Path) -> None:
    tracker = JsonlTracker(path)
    for step in range(3):
        tracker.log({"step": step})
        tracker.flush()
    path.write_text('{"step": 0}\n')
    tracker.log({"step": 3})
    with pytest.raises(DataError, match=r"was cut from 36 to 12 bytes .*; restore it if you can, then type ast-resume"):
        tracker.flush()
    assert steps(path) == [0]


def test_a_full_disk_leaves_no_part_of_a_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = JsonlTracker(path)
    tracker.log({"step": 0})
    tracker.flush()
    tracker.log({"step": 1, "text": "x" * 100_000})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            tracker.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert steps(path) == [0]
    tracker.flush()
    assert steps(path) == [0, 1], "the rows waited"


def test_a_slow_file_system_does_not_slow_the_loop(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()

    class Slow(JsonlTracker):
        def _opened(self) -> FileIO:
            go.wait()
            return super()._opened()

    monkeypatch.setattr(jsonl, "PATIENCE_S", 0.01)
    tracker = Slow(path)
    began = time.monotonic()
    for step in range(1000):
        tracker.log({"step": step})
        tracker.flush()
    assert time.monotonic() - began < 30
    assert not path.exists()
    go.set()
    state = tracker.state_dict()  # a checkpoint waits for the rows before it
    assert steps(path) == list(range(1000))
    assert state == {"offset": path.stat().st_size}


def test_what_fails_in_a_slow_write_is_raised_by_the_next_flush(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "PATIENCE_S", 0.0)
    tracker = JsonlTracker(path.parent / "later" / "metrics.jsonl")
    tracker._slow = True
    tracker.log({"step": 0})
    with pytest.raises(FileNotFoundError):
        flush_until_it_ends(tracker)
    tracker.path.parent.mkdir()
    tracker.log({"step": 1})
    tracker.finish({})
    assert steps(tracker.path) == [0, 1]
