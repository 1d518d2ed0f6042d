"""Run directories in every state."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ast_experiments.runs.record import find_runs, read_rows, read_run

STEP, EPOCH = {"kind": "step", "step": 1}, {"kind": "epoch", "step": 2}


def test_a_whole_run(tmp_path: Path, run_in: Callable[..., Path]) -> None:
    record = read_run(run_in(tmp_path / "a", [STEP, EPOCH, STEP], {"status": "finished"}))
    assert (record.steps, record.epochs, record.status) == ([STEP, STEP], [EPOCH], "finished")
    assert record.config["controller"] == {"name": "pi", "kp": 0.1}
    assert record.config["output"] == "${oc.env:HOME}/runs", "interpolations are left as they are"


def test_a_killed_run(tmp_path: Path, run_in: Callable[..., Path]) -> None:
    run_in(tmp_path, [STEP, EPOCH], None)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "step", "st')
    record = read_run(tmp_path)
    assert (record.steps, record.epochs, record.status, record.result) == ([STEP], [EPOCH], "unfinished", {})


@pytest.mark.parametrize(
    ("content", "rows", "warnings"),
    [
        ("", 0, 0),
        ('{"a": 1}\n{"a": 2}\n', 2, 0),
        ('{"a": 1}\n{"a": 2', 1, 0),
        ('{"a": 1}\n{"a": \n{"a": 3}\n', 2, 1),
        ('{"a": 1}\n5\n{"a": 3}\n', 2, 1),
        ('{"a": 1}\n\udcff\udcfe', 1, 0),
    ],
)
def test_torn_lines(content: str, rows: int, warnings: int, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with caplog.at_level(logging.WARNING):
        assert len(read_rows(path)) == rows
    assert len(caplog.records) == warnings


@pytest.mark.parametrize("result", ['{"status": "fini', "[]"])
def test_a_torn_result_counts_as_none(tmp_path: Path, result: str) -> None:
    (tmp_path / "result.json").write_text(result)
    assert read_run(tmp_path).status == "unfinished"


@pytest.mark.parametrize("name", ["", "missing"])
def test_no_run_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"expected metrics\.jsonl"):
        read_run(tmp_path / name)


def test_find_runs(tmp_path: Path, run_in: Callable[..., Path]) -> None:
    result: dict[str, Any] = {"status": "finished"}
    runs = [run_in(tmp_path / name, [], result) for name in ("sweep/b", "sweep/a", "other")]
    (tmp_path / "sweep" / ".hydra").mkdir()
    (tmp_path / "sweep" / ".hydra" / "config.yaml").touch()
    for name in ("a/wandb/run-1/files", "b/checkpoints"):
        (tmp_path / "sweep" / name).mkdir(parents=True)
        (tmp_path / "sweep" / name / "config.yaml").touch()
    assert find_runs(tmp_path) == sorted(runs)
    assert find_runs(runs[0]) == [runs[0]]
    assert find_runs(tmp_path / "none") == []
