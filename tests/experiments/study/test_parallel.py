"""Studies whose runs are made by several processes at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from study_tools import write_result

from ast_experiments.cli.bench import planned
from ast_experiments.core.errors import ConfigError, UserError
from ast_experiments.experiments.study.arms import parse_methods, with_dense
from ast_experiments.experiments.study.engines import Engine, split_engine
from ast_experiments.experiments.study.plan import Study, StudyPlan, StudyRun
from ast_experiments.experiments.study.queue import StudyQueue

BENCH = [sys.executable, "-m", "ast_experiments.cli.bench"]
TINY = ["dataset.train_rows=200", "recipe.epochs=2", "tracking=jsonl", "tracking.report=false", "hardware.threads=1"]
STUDY = ["methods=[random]", "seeds=2", *TINY]


def bench(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([*BENCH, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def journal(study: Path) -> list[dict[str, Any]]:
    path = study / "journal.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def ended(study: Path) -> list[str]:
    return [row["run"] for row in journal(study) if row["event"] == "finished"]


def results(study: Path) -> dict[str, dict[str, Any]]:
    found = sorted(study.glob("runs/*/*/result.json"))
    return {path.parent.relative_to(study).as_posix(): json.loads(path.read_text()) for path in found}


def wait_until(condition: Any, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 400
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)


@pytest.mark.long
def test_several_at_once_give_the_same_table(tmp_path: Path) -> None:
    tables = {}
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    joblib = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    for name, how in (("serial", []), ("pool", ["jobs=2"]), ("joblib", joblib)):
        process = bench(tmp_path, f"name={name}", *STUDY, *how)
        _, errors = process.communicate()
        assert process.returncode == 0, errors
        study = tmp_path / "outputs/studies" / name
        made = results(study)
        assert sorted(ended(study)) == sorted(made)
        compared = json.loads((study / "compare.json").read_text())[0]
        verdicts = [(arm["arm"], arm["verdict"], arm["flops"]) for arm in compared["arms"]]
        figures = {path: (made[path]["final_accuracy"], made[path]["final_val_loss"]) for path in made}
        tables[name] = (verdicts, figures)
        shared = [path for path in made if "cores" in made[path].get("shared", [])]
        assert not shared if name == "serial" else shared
    assert tables["pool"] == tables["joblib"] == tables["serial"]


@pytest.mark.long
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_a_stopped_study_resumes_and_repeats_nothing(tmp_path: Path, sent: signal.Signals) -> None:
    study = tmp_path / "outputs/studies/s"
    command = ["name=s", *STUDY, "recipe.epochs=30", "jobs=2"]
    process = bench(tmp_path, *command)
    wait_until(lambda: len(ended(study)) >= 1 and len(list(study.glob("runs/*/*/checkpoints"))) >= 3, process)
    process.send_signal(sent)
    _, errors = process.communicate()
    if sent == signal.SIGTERM:
        assert process.returncode == 75
        assert errors.startswith("interrupted: SIGTERM; ")
        assert errors.count("\n") == 1
        assert "runs are done; resume with: ast-bench outputs/studies/s jobs=2" in errors
    before = ended(study)
    process = bench(tmp_path, *command)
    _, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    made = results(study)
    assert {result["status"] for result in made.values()} == {"finished"}
    assert sorted(ended(study)) == sorted(made)
    assert ended(study)[: len(before)] == before
    assert not [path for path in before if made[path]["resumed"]]


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for the workers in /proc")
def test_a_worker_that_is_killed_fails_its_run_alone(tmp_path: Path) -> None:
    study = tmp_path / "outputs/studies/s"
    process = bench(tmp_path, "name=s", "methods=[dense]", "seeds=3", *TINY, "recipe.epochs=30", "jobs=2")
    wait_until(lambda: list(study.glob("runs/dense/seed_0/checkpoints")), process)
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_text().split("\0") for pid in workers}
    (first,) = [int(pid) for pid, command in commands.items() if command[-3] == "0"]
    os.kill(first, signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert "dense, seed 0: its process was killed by SIGKILL" in errors
    assert sorted(ended(study)) == ["runs/dense/seed_1", "runs/dense/seed_2"]
    process = bench(tmp_path, "outputs/studies/s")
    process.communicate()
    assert process.returncode == 0
    assert sorted(ended(study)) == [f"runs/dense/seed_{seed}" for seed in range(3)]


@pytest.mark.parametrize(
    ("arguments", "engine", "rest"),
    [
        (["methods=[ast]"], Engine(), ["methods=[ast]"]),
        (["jobs=3", "name=s"], Engine(3), ["name=s"]),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=4"],
         Engine(1, ("hydra/launcher=joblib", "hydra.launcher.n_jobs=4")), []),
        (["hydra/launcher=basic"], Engine(), []),
    ],
)  # fmt: skip
def test_how_to_run_is_told_from_what_to_run(arguments: list[str], engine: Engine, rest: list[str]) -> None:
    assert split_engine(arguments) == (engine, rest)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["jobs=0"], "jobs=0: expected how many runs at once, such as jobs=2"),
        (["jobs=two"], "jobs=two: expected how many"),
        (["hydra.launcher.n_jobs=2"], "type hydra/launcher=joblib hydra.launcher.n_jobs=2"),
        (["jobs=2", "hydra/launcher=joblib"], "type only one of the two"),
    ],
)
def test_wrong_engines_are_refused(arguments: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        split_engine(arguments)


def test_costs_of_runs_that_share_a_machine_are_not_counted_in_seconds(tmp_path: Path) -> None:
    study = Study("s", (), with_dense(parse_methods("ast")), (0,), cost="seconds")
    Engine().check(StudyPlan(study))
    Engine(1, ("hydra/launcher=slurm",)).check(StudyPlan(study))
    with pytest.raises(ConfigError, match=r"jobs=2: runs that share a machine cannot be compared in seconds; type co"):
        Engine(2).check(StudyPlan(study))
    with pytest.raises(ConfigError, match=r"counts costs in joules, .* type it without hydra/launcher="):
        Engine(1, ("hydra/launcher=joblib",)).check(StudyPlan(Study("s", (), study.arms, (0,)), cost="joules"))


def test_a_unit_that_sharing_spoils_is_not_chosen(tmp_path: Path) -> None:
    plan = StudyPlan(Study("s", ("recipe.epochs=10",), with_dense(parse_methods("random")), (0,)))
    queue = StudyQueue(plan, tmp_path)
    for arm, rate in zip(plan.arms, (1.0, 0.4), strict=True):
        write_result(queue, StudyRun(arm, 0), rate=rate, joules=True, shared=["GPU", "cores"])
    assert "costs are counted in FLOPs: joules of runs that shared the machine cannot be compared" in queue.decide()[0]
    requested = StudyPlan(Study("s", plan.study.common, plan.study.arms, (0,), cost="joules"))
    with pytest.raises(UserError, match="cost=joules: the runs shared the machine with others; type cost=flops"):
        StudyQueue(requested, tmp_path).decide()


def test_a_study_file_may_name_the_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ast_experiments.cli.bench import expanded

    monkeypatch.chdir(tmp_path)
    Path("study.yaml").write_text("methods: [random]\nname: s\njobs: 2\n")
    engine, rest = split_engine(expanded(["seeds=1", "study.yaml"]))
    assert engine.jobs == 2
    plan, folder = planned(rest)
    assert (folder.name, plan.study.seeds) == ("s", (0,))
