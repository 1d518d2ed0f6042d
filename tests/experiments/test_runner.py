"""The common runner, with runs that only write a result."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from ast_experiments.config.compose import load_config
from ast_experiments.config.schema import Config
from ast_experiments.core.errors import Diverged, Interrupted, UserError
from ast_experiments.core.owner import owned
from ast_experiments.experiments.runner import Job, previous_result, resumable, run_job
from ast_experiments.runs import result as results
from ast_experiments.runs import run as runs

Execute = Callable[[Config, Path, Any, Any], dict[str, Any]]


@cache
def config_of(*overrides: str) -> Config:
    return load_config(["tracking=jsonl", "tracking.report=false", *overrides])


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.chdir(tmp_path)
    return Job("[1/2] dense", Path("runs/dense"), config_of(), ["seed=0"])


def execute_with(monkeypatch: pytest.MonkeyPatch, body: Callable[[Any], Mapping[str, Any]]) -> list[Path]:
    """Replaces training by a function of the callback that returns the result. Returns the folders that were run."""
    ran: list[Path] = []

    def execute(config: Config, folder: Path, overrides: Any = (), watch: Any = None) -> dict[str, Any]:
        ran.append(folder)
        result = {"config_hash": results.config_hash(config), "status": "finished", **body(watch)}
        results.write(folder, result)
        return result

    monkeypatch.setattr(runs, "execute", execute)
    return ran


def test_a_finished_job_is_skipped(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = execute_with(monkeypatch, lambda watch: {"final_accuracy": 90.0})
    first, second = run_job(job), run_job(job)
    assert ran == [job.folder.resolve()]
    assert (first.skipped, second.skipped) == (False, True)
    assert first.result == second.result
    assert (job.folder / "train.log").exists()


@pytest.mark.parametrize("status", ["failed", "interrupted", "running"])
def test_an_unfinished_job_runs_again(job: Job, monkeypatch: pytest.MonkeyPatch, status: str) -> None:
    job.folder.mkdir(parents=True)
    results.write(job.folder, {"config_hash": results.config_hash(job.config), "status": status})
    ran = execute_with(monkeypatch, lambda watch: {})
    assert not run_job(job).skipped
    assert len(ran) == 1


def test_a_failure_is_one_line(job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def diverge(watch: Any) -> Mapping[str, Any]:
        raise Diverged("the loss is NaN\nat step 5")

    execute_with(monkeypatch, diverge)
    outcome = run_job(job)
    assert outcome.error == "the loss is NaN at step 5"
    assert capsys.readouterr().err == f"error: [1/2] dense: {outcome.error}; see runs/dense/train.log\n"
    assert "Traceback" in (job.folder / "train.log").read_text()


def test_another_config_and_another_process_are_refused(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = execute_with(monkeypatch, lambda watch: {})
    job.folder.mkdir(parents=True)
    with owned(job.folder):
        assert "runs/dense is in use by another process (host " in (run_job(job).error or "")
    other = Job(job.title, job.folder, config_of("recipe.lr=0.5"))
    results.write(job.folder, {"config_hash": results.config_hash(other.config), "status": "finished"})
    assert "holds a run of another config" in (run_job(job).error or "")
    with pytest.raises(UserError, match="holds a run of another config"):
        previous_result(job)
    assert previous_result(other)["status"] == "finished"
    assert not ran


def test_a_callback_stops_its_run_and_a_signal_stops_all(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(watch: Any) -> Mapping[str, Any]:
        raise Interrupted(f"{watch({'kind': 'epoch'}) or 'SIGINT'}; resume with: ast-resume somewhere")

    execute_with(monkeypatch, train)
    assert run_job(job, callback=lambda row: "poor").stopped == "poor"
    with pytest.raises(Interrupted, match="SIGINT"):
        run_job(job, callback=lambda row: None)
    with (
        pytest.raises(Interrupted, match=r"^SIGINT; 1 of 2 are done; resume with: ast-bench s$"),
        resumable("ast-bench s", lambda: "1 of 2 are done"),
    ):
        run_job(job, callback=lambda row: None)


def test_a_missing_report_is_written(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = execute_with(monkeypatch, lambda watch: {})
    reported = Job(job.title, job.folder, config_of("tracking.report=true"))
    run_job(job)
    assert not (job.folder / "report.html").exists()
    assert run_job(reported).skipped
    assert (job.folder / "report.html").exists()
    assert len(ran) == 1


def test_a_damaged_result_counts_as_none(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    job.folder.mkdir(parents=True)
    (job.folder / "result.json").write_text('{"status": "fini')
    execute_with(monkeypatch, lambda watch: {})
    assert not run_job(job).skipped
    assert json.loads((job.folder / "result.json").read_text())["status"] == "finished"
