"""Sweeps as a stranger types them: failures, interruptions, and the launchers."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_tools import Done

from ast_experiments.config.preflight import preflight
from ast_experiments.core.errors import ConfigError
from ast_experiments.core.owner import owned

SHORT = ["recipe.epochs=4", "dataset.train_rows=300", "tracking=jsonl", "tracking.report=false"]
BROKEN = ["recipe.optimizer=sgd", "recipe.lr=1e30,1e-3", *SHORT]


def results(sweep: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sweep.glob("*/result.json")]


def test_a_failed_job_is_reported_at_once_and_does_not_stop_the_others(train: Callable[..., Done]) -> None:
    done = train("-m", *BROKEN, "group=mine")
    sweep = Path("outputs/sweeps/mine")
    assert done.code == 1
    statuses = sorted((result["status"], result["group"]) for result in results(sweep))
    assert statuses == [("failed", "mine"), ("finished", "mine")]
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "recipe.lr=1e+30" in errors[0]
    assert "NaN or infinite" in errors[0]
    assert "Traceback" not in done.err
    assert "Traceback" in next(sweep.glob("*1e*30*/train.log")).read_text()
    assert "1 of 2 jobs did not finish; type the same command to continue" in done.err
    assert done.out.index("2 jobs in outputs/sweeps/mine") < done.out.index("Leaderboard")
    for name in ("report.html", "leaderboard.csv"):
        assert (sweep / name).exists()

    kept = {path: path.read_bytes() for path in sweep.glob("*recipe.lr=0.001*/*.json*")}
    assert len(kept) == 2
    again = train("-m", *reversed(BROKEN), "group=mine")
    assert again.code == 1
    for out in (done.out, again.out):
        assert (
            len(re.findall(r"^note: recipe.lr=.*: about 15 training steps in all, which is few", out, re.MULTILINE))
            == 1
        )
    assert "2 jobs in outputs/sweeps/mine, 1 of them finished already" in again.out
    assert {path: path.read_bytes() for path in kept} == kept
    assert len(results(sweep)) == 2
    assert [r["resumed"] for r in results(sweep) if r["status"] == "failed"] == [1]


def test_a_job_in_use_and_one_of_another_config_are_left_alone(train: Callable[..., Done]) -> None:
    command = ["-m", "seed=0,1", *SHORT, "group=mine"]
    assert train(*command).code == 0
    first, second = sorted(Path("outputs/sweeps/mine").glob("*/result.json"))
    with owned(first.parent):
        done = train(*command)
    assert done.code == 0  # both have finished before
    assert "is in use by another process (host " in done.err
    with owned(Path("outputs/sweeps/mine")):
        done = train(*command)
    assert done.code == 1
    assert "outputs/sweeps/mine is in use by another process (host " in done.err
    changed = json.loads(second.read_text()) | {"config_hash": "other"}
    second.write_text(json.dumps(changed))
    done = train(*command)
    assert done.code == 2
    assert "holds a run of another config; type another name for the sweep, group=NAME" in done.err
    assert json.loads(second.read_text()) == changed


@pytest.mark.parametrize("typed", ["seed=0,0", "tracking=jsonl,default", "group=a,b"])
def test_jobs_that_would_share_a_directory_are_refused(train: Callable[..., Done], typed: str) -> None:
    done = train("-m", typed)
    assert done.code == 2
    assert "two jobs of one sweep differ in nothing that changes a run" in done.err
    assert not Path("outputs").exists()


def test_jobs_of_a_cluster_are_not_checked_against_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match="cuda is not available here"):
        preflight(["hardware=slurm", "seed=0,1"], multirun=True)
    sweep = preflight(["hydra/launcher=slurm", "hardware=slurm", "seed=0,1"], multirun=True)
    assert sweep is not None
    assert len(sweep.jobs) == 2


@pytest.mark.slow
def test_a_killed_sweep_resumes(train: Callable[..., Done], tmp_path: Path) -> None:
    command = ["-m", "seed=0,1", "recipe.epochs=20", "checkpoint_every_s=0.05", *SHORT[1:], "group=mine"]
    code = "from ast_experiments.cli.train import main; main()"
    process = subprocess.Popen([sys.executable, "-c", code, *command], cwd=tmp_path, stdout=subprocess.DEVNULL)
    sweep = Path("outputs/sweeps/mine")
    deadline = time.monotonic() + 400
    while not list(sweep.glob("*seed=1*/checkpoints/last.pt")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    first = next(sweep.glob("*seed=0*"))
    before = (first / "metrics.jsonl").stat().st_mtime_ns
    assert train(*command).code == 0
    ended = {result["seed"]: (result["status"], result["resumed"], result["epochs"]) for result in results(sweep)}
    assert ended == {0: ("finished", 0, 20), 1: ("finished", 1, 20)}
    assert (first / "metrics.jsonl").stat().st_mtime_ns == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "plugin", "option"),
    [
        ("joblib", "hydra_joblib_launcher", "hydra.launcher.n_jobs=2"),
        pytest.param(
            "submitit_local", "hydra_submitit_launcher", "hydra.launcher.timeout_min=5", marks=pytest.mark.long
        ),
    ],
)
def test_launchers(launcher: str, plugin: str, option: str, train: Callable[..., Done], tmp_path: Path) -> None:
    pytest.importorskip(f"hydra_plugins.{plugin}")
    done = train("-m", *BROKEN, f"hydra/launcher={launcher}", option)
    assert done.code == 1
    (sweep,) = (tmp_path / "outputs" / "sweeps").iterdir()
    found = results(sweep)
    assert sorted(result["status"] for result in found) == ["failed", "finished"]
    assert {result["group"] for result in found} == {sweep.name}
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "recipe.lr=1e+30" in errors[0]
    assert (sweep / "report.html").exists()
    assert os.listdir(tmp_path) == ["outputs"]


@pytest.mark.slow
def test_a_launcher_gets_adapted_jobs(train: Callable[..., Done], tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    preset = ["experiment=cifar10_published", "dataset=digits", "model=simple_cnn", "recipe=small", "recipe.epochs=1"]
    done = train("-m", *preset, "method=dense,random", "tracking=jsonl", "hydra/launcher=joblib", "group=mine")
    assert done.code == 0, done.err
    found = {result["method"]: Path(result["folder"]).name for result in results(tmp_path / "outputs/sweeps/mine")}
    assert sorted(found) == ["dense", "random"]
    typed = sorted([*preset, "method=dense"])
    assert found["dense"].startswith(",".join(typed)[:40])
    again = train("-m", *preset, "method=dense,random", "tracking=jsonl", "group=mine")
    assert again.out.count("finished already") == 3
