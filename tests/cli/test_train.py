"""The commands as a stranger types them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_tools import Done

TRAIN = [sys.executable, "-m", "ast_experiments.cli.train"]
RESUME = [sys.executable, "-m", "ast_experiments.cli.resume"]
SHORT = ["recipe.epochs=3", "dataset.train_rows=300"]


def call(*command: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, env=os.environ | env, capture_output=True, text=True, check=False, timeout=300
    )


def runs(cwd: Path) -> list[Path]:
    return sorted(path.parent for path in (cwd / "outputs").rglob("result.json"))


def result_of(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())


@pytest.mark.slow
def test_quickstart(tmp_path: Path) -> None:
    done = call(*TRAIN, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (folder,) = runs(tmp_path)
    result = result_of(folder)
    assert result["status"] == "finished"
    assert result["final_accuracy"] >= 95
    assert result["mean_activation_rate"] == pytest.approx(0.4, rel=0.1)
    assert result["last_quarter_activation_rate"] == pytest.approx(result["last_quarter_target"], rel=0.1)
    assert result["rows_scored"] == 0
    for name in ("report.html", "metrics.jsonl", "result.json", "wandb"):
        assert (folder / name).exists()
    for label in ("report", "metrics", "W&B"):
        assert label in done.stdout
    steps = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [row for row in steps if row["kind"] == "step"]
    assert wandb_curve(folder) == [row["control/activation_rate"] for row in steps]


def wandb_curve(folder: Path) -> list[float]:
    """The activation rate in the offline W&B files, as W&B's own tool reads it."""
    (offline,) = (folder / "wandb").glob("offline-run-*")
    done = call(sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(offline), cwd=folder)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    items = [record["history"]["item"] for record in records if record["type"] == "history"]
    return [item["control/activation_rate"] for item in items if "control/activation_rate" in item]


@pytest.mark.parametrize("flags", [["--help"], ["--cfg", "job"], ["--info"], ["--hydra-help"]])
def test_looking_writes_nothing(tmp_path: Path, flags: list[str]) -> None:
    done = call(*TRAIN, *flags, cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("program", ["train", "bench"])
def test_completion_writes_nothing(tmp_path: Path, program: str) -> None:
    command = [sys.executable, "-m", f"ast_experiments.cli.{program}", "-sc", "query=bash"]
    done = call(*command, cwd=tmp_path, COMP_LINE=f"ast-{program} model=simp", COMP_POINT="20")
    assert done.stdout.split() == ["model=simple_cnn"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (["--cfg", "job"], ["pydantic"]),
        (["epochs=5"], ["pydantic"]),
        (["method.rte=0.3"], ["pydantic"]),
        (["-m", "seed=0,1", "methd=ast"], ["pydantic"]),
        (["recipe.optimizer=sdg"], []),
        (["hardware.processes=[1]"], []),
        (["energy.require=cpu", "energy.cpu=none"], []),
        (["seed=-1"], []),
        (["dataset.crop_padding=65"], []),
    ],
    ids=str,
)
def test_heavy_imports_are_lazy(tmp_path: Path, arguments: list[str], heavy: list[str]) -> None:
    code = (
        "import sys; from ast_experiments.cli.train import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(*[m for m in ('torch', 'timm', 'wandb', 'pydantic', 'matplotlib', 'sklearn') if m in sys.modules])"
    )
    done = call(sys.executable, "-c", code, *arguments, cwd=tmp_path)
    loaded = done.stdout.splitlines()[-1].split()
    assert not {"torch", "timm", "wandb", "matplotlib", "sklearn", *heavy}.intersection(loaded)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["controller.kp=abc"], "controller.kp"),
        (["-m", "seed=1,2,x"], "seed"),
        (["model=resnett18"], "resnet18_cifar"),
        (["hardware=gpu"] if not os.path.exists("/dev/nvidia0") else ["hardware=gpus"], "hardware"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path: Path, overrides: list[str], expected: str) -> None:
    done = call(*TRAIN, *overrides, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert expected in line
    assert not list(tmp_path.iterdir())


def test_a_setting_that_does_not_fit_the_data_leaves_only_what_was_there(
    train: Callable[..., Done], tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "notes.txt").write_text("keep")
    wrong = ["recipe.batch_size=5000", "tracking=jsonl"]
    assert train(*wrong, f"hydra.run.dir={folder}").code == 2
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    assert train(*wrong, f"hydra.run.dir={tmp_path / 'new'}").code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_missing_data_is_one_line_and_leaves_nothing(train: Callable[..., Done], tmp_path: Path) -> None:
    arguments = ["experiment=cifar10_stale", "dataset.download=false", f"dataset.root={tmp_path / 'nothing'}"]
    done = train(*arguments)
    assert done.code == 1
    (line,) = done.err.splitlines()
    assert "dataset.root=" in line
    assert list(runs(tmp_path)) == []


@pytest.mark.slow
@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.long), 2])
def test_sigterm_saves_and_resume_finishes(tmp_path: Path, workers: int) -> None:
    long = ["recipe.epochs=40", "dataset.train_rows=300", "tracking=jsonl", "tracking.report=false"]
    long += ["hardware.data_on_device=false", f"hardware.workers={workers}"] if workers else []
    process = subprocess.Popen(
        [*TRAIN, *long], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )
    while not list(tmp_path.rglob("metrics.jsonl")) and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGTERM)  # batch systems signal the workers too
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75
    assert b"ast-resume" in errors
    (folder,) = runs(tmp_path)
    assert result_of(folder)["status"] == "interrupted"
    done = call(*RESUME, str(folder), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = result_of(folder)
    assert (result["status"], result["epochs"], result["resumed"]) == ("finished", 40, 1)
    assert call(*RESUME, str(folder), cwd=tmp_path).stdout.count("is finished") == 1


def test_resume_of_something_else_is_one_line(tmp_path: Path) -> None:
    done = call(*RESUME, str(tmp_path), cwd=tmp_path)
    assert done.returncode == 1
    assert "not a run directory" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.long
def test_runs_of_the_same_second_have_their_own_directories(tmp_path: Path) -> None:
    command = [*TRAIN, "debug=one_batch", "tracking=jsonl", "tracking.report=false"]
    both = [subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(timeout=300) for process in both] == [0, 0]
    assert len(runs(tmp_path)) == 2
