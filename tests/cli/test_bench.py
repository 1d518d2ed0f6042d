"""A study that is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ast_experiments.cli.bench import main

BENCH = [sys.executable, "-m", "ast_experiments.cli.bench"]
STUDY = ["methods=[dense]", "seeds=2", "name=s", "dataset.train_rows=200", "recipe.epochs=8", "hardware.threads=1"]
QUIET = ["tracking=jsonl", "tracking.report=false"]


@pytest.mark.slow
def test_a_killed_study_repeats_no_finished_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "outputs/studies/s"
    first, second = (study / "runs/dense" / f"seed_{seed}" for seed in (0, 1))
    process = subprocess.Popen([*BENCH, *STUDY, *QUIET], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not (second / "checkpoints/last.pt").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    output, _ = process.communicate()
    assert "[1/2] dense, seed 0: " in output
    before = (first / "result.json").read_bytes()
    assert json.loads((second / "result.json").read_text())["status"] == "running"

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["ast-bench", os.path.relpath(study)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert (first / "result.json").read_bytes() == before
    result = json.loads((second / "result.json").read_text())
    assert (result["status"], result["epochs"], result["resumed"]) == ("finished", 8, 1)
    journal = [json.loads(line) for line in (study / "journal.jsonl").read_text().splitlines()]
    events = [(row["event"], row["seed"]) for row in journal]
    assert events == [("started", 0), ("finished", 0), ("started", 1), ("started", 1), ("finished", 1)]
    assert capsys.readouterr().out.count("[2/2] dense, seed 1: ") == 1


def test_wrong_flags_are_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["ast-bench", "-m", "methods=[ast]"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "error: -m: no such flag" in capsys.readouterr().err
