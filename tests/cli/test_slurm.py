"""How a sweep sees that its SLURM jobs have ended: `squeue` is a script, results are files; and on a real SLURM."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus

from ast_experiments.config.compose import compose
from ast_experiments.core.errors import UserError
from hydra_plugins.ast_slurm_launcher import SlurmLauncher, job_class, read_queue

pytest.importorskip("submitit")


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes jobs by their ids; `queue` is what `squeue` prints."""
    (tmp_path / "queue").write_text("7_0|RUNNING\n7_1|CANCELLED\n")
    squeue = tmp_path / "squeue"
    squeue.write_text(f"#!/bin/sh\ncat {tmp_path}/queue\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    kind = job_class()
    monkeypatch.setattr(kind, "_results_timeout_s", 0)
    monkeypatch.setattr(kind, "watcher", type(kind.watcher)())
    return lambda job_id: kind(tmp_path, job_id)


def test_states_are_those_of_the_queue():
    assert read_queue("12_0|RUNNING\n  13|PENDING \n\n") == {
        "12_0": {"JobID": "12_0", "State": "RUNNING"},
        "13": {"JobID": "13", "State": "PENDING"},
    }


def test_a_job_that_the_queue_knows_is_waited_for(jobs: Any) -> None:
    assert not jobs("7_0").done()


@pytest.mark.parametrize(("job_id", "state"), [("7_1", "cancelled"), ("6_0", "ended")])
def test_a_job_that_ended_without_a_result_fails_in_one_line(jobs: Any, job_id: str, state: str) -> None:
    (ended,) = jobs(job_id).results()
    assert ended.status == JobStatus.FAILED
    with pytest.raises(UserError, match=rf"^SLURM's job {job_id} has no result \({state}\); its output: .*\.err$"):
        _ = ended.return_value


def test_a_result_counts_whatever_the_queue_says(jobs: Any) -> None:
    job = jobs("6_0")
    job.paths.result_pickle.parent.mkdir(exist_ok=True)
    job.paths.result_pickle.write_bytes(pickle.dumps(("success", JobReturn(_return_value=98.0))))
    assert job.results()[0]._return_value == 98.0


def test_the_config_names_the_launcher():
    launcher = compose(["hydra/launcher=slurm"], hydra=True).hydra.launcher
    assert launcher._target_ == f"{SlurmLauncher.__module__}.{SlurmLauncher.__name__}"
    assert (launcher.max_num_timeout, launcher.signal_delay_s) == (20, 300)


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.skipif(not shutil.which("slurmctld") or os.geteuid() != 0, reason="needs SLURM's packages, and root")
def test_on_a_real_slurm_nothing_is_lost(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "scripts/slurm_machine.sh"
    environment = os.environ | {"PYTHON": sys.executable, "SEEDS": "0,1"}
    done = subprocess.run(["bash", script, tmp_path], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    ends = [line for line in done.stdout.splitlines() if "to a run without SLURM" in line]
    assert len(ends) == 4, done.stdout
    assert all("finished, resumed" in line and "bit-equal" in line for line in ends), done.stdout
