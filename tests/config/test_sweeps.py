"""Sweeps are recognised and checked whole before anything runs; names of run directories."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ast_experiments.config.compose import compose, split_jobs
from ast_experiments.config.groups import CONF
from ast_experiments.config.naming import LAUNCH, job_name, launch_id, sweep_name
from ast_experiments.config.preflight import check_launcher, preflight
from ast_experiments.core.errors import ConfigError


@pytest.fixture
def no_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LAUNCH, "")  # so that what the test sets is taken back
    monkeypatch.delenv(LAUNCH)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], [[]]),
        (["seed=1"], [["seed=1"]]),
        (["seed=1,2", "method=dense"], [["seed=1", "method=dense"], ["seed=2", "method=dense"]]),
        (
            ["method=dense,random", "seed=range(0,2)"],
            [["method=dense", "seed=0"], ["method=dense", "seed=1"], ["method=random", "seed=0"],
             ["method=random", "seed=1"]],
        ),
    ],
    ids=str,
)  # fmt: skip
def test_jobs_of_a_command_line(overrides: list[str], expected: list[list[str]]) -> None:
    assert split_jobs(overrides) == expected


@pytest.mark.parametrize(
    ("overrides", "multirun", "message"),
    [
        (["controller.kp=1,2,abc"], True, "controller.kp: 'abc' is wrong"),
        (["method=ast,dense", "method.rate=0.3"], True, "method.rate: no such setting of method=dense"),
        (["seed=0,1", "model=resnett18"], True, "model=resnett18: no such choice"),
        (["sweep=pi_gains", "controller.alpha=2"], False, "controller.alpha: 2 is wrong"),
        (["sweep=pi_gains", "controller.kp=1,x"], True, "controller.kp: 'x' is wrong"),
        (["sweep=pi_gains", "controller=quantile"], False, "controller.kp: no such setting of controller=quantile"),
    ],
    ids=str,
)
def test_a_sweep_with_one_wrong_job_does_not_start(
    overrides: list[str], multirun: bool, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        preflight(overrides, multirun)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_ready_sweep_takes_other_values_without_the_flag() -> None:
    assert preflight(["sweep=pi_gains", "controller.kp=1,2"], multirun=False) is not None


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["seed=0,1"], "sweep_{launch}"),
        (["sweep=pi_gains"], "pi_gains_{launch}"),
        (["sweep=pi_gains", "group=mine"], "mine"),
        (["seed=0,1", "group='../my study'"], "my-study"),
    ],
    ids=str,
)
def test_the_folder_of_a_sweep(overrides: list[str], name: str, no_launch: None) -> None:
    folder = compose(split_jobs(overrides)[0], hydra=True).hydra.sweep.dir
    assert Path(folder) == Path("outputs/sweeps") / name.format(launch=os.environ.get(LAUNCH))


def test_preflight_tells_folder_jobs_and_launcher(no_launch: None) -> None:
    sweep = preflight(["seed=0,1", "hydra.verbose=false", "hydra/launcher=basic"], multirun=True)
    assert sweep is not None
    assert (sweep.jobs, sweep.launcher) == ([["seed=0"], ["seed=1"]], "basic")
    assert sweep.folder.parent == Path("outputs/sweeps")
    assert re.fullmatch("sweep_[0-9a-f]{8}", sweep.folder.name)
    assert preflight(["seed=0"], multirun=False) is None


def test_the_same_jobs_have_the_same_folder(no_launch: None) -> None:
    def folder(*overrides: str) -> Path:
        sweep = preflight(overrides, multirun=True)
        assert sweep is not None
        return sweep.folder

    assert folder("seed=0,1", "recipe.lr=0.1") == folder("recipe.lr=0.1", "seed=1,0", "tracking=jsonl")
    assert folder("seed=0,1") != folder("seed=0,1,2")


@pytest.mark.parametrize("choice", sorted(path.stem for path in (CONF / "sweep").glob("*.yaml")))
def test_every_sweep_is_checked_whole(choice: str) -> None:
    sweep = preflight([f"sweep={choice}"], multirun=False)
    assert sweep is not None
    assert len({job_name(overrides) for overrides in sweep.jobs}) == len(sweep.jobs) >= 5


def test_ray_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    check_launcher("joblib")
    with pytest.raises(ConfigError, match="hydra/launcher=ray: is not installed; type uv sync --inexact --extra ray"):
        check_launcher("ray")


def test_a_launcher_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from hydra.core.config_store import ConfigStore

    launchers = ConfigStore.instance().repo["hydra"]["launcher"]
    monkeypatch.delitem(launchers, "submitit_slurm.yaml", raising=False)
    with pytest.raises(ConfigError, match=r"hydra/launcher=submitit_slurm: is not installed.*--extra submitit"):
        preflight(["seed=0,1", "hydra/launcher=submitit_slurm"], multirun=True)


@pytest.mark.parametrize("more", [[], ["hydra.sweeper.n_trials=9"]])
@pytest.mark.parametrize("multirun", [True, False])
def test_another_sweeper_is_refused(multirun: bool, more: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        preflight(["recipe.lr=0.1,0.2", "hydra/sweeper=optuna", *more], multirun)
    message = str(caught.value)
    assert message.startswith("hydra/sweeper=optuna: is not supported, only basic is")
    assert "leave it out" in message
    assert "\n" not in message
    assert preflight(["seed=0,1", "hydra/sweeper=basic"], multirun=True) is not None


def test_every_job_is_checked_to_the_last() -> None:
    with pytest.raises(ConfigError, match=r"^seed: .x."):
        preflight(["seed=1,2,x"], multirun=True)


def test_launch_ids_differ_between_launches(monkeypatch: pytest.MonkeyPatch, no_launch: None) -> None:
    made = set()
    for _ in range(20):
        monkeypatch.delenv(LAUNCH, raising=False)
        made.add(launch_id())
    assert len(made) == 20
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_[0-9a-f]{4}", name) for name in made)


def test_a_launch_keeps_its_id_and_its_workers_inherit_it(no_launch: None) -> None:
    name = launch_id()
    assert launch_id() == name
    worker = "from ast_experiments.config.naming import launch_id; print(launch_id())"
    told = subprocess.run([sys.executable, "-c", worker], capture_output=True, text=True, check=True).stdout.strip()
    assert told == name


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "run-e3b0c442"),
        (["seed=3", "controller.kp=1.0"], "controller.kp=1.0,seed=3-da1ee54d"),
        (["controller.kp=1.0", "seed=3"], "controller.kp=1.0,seed=3-da1ee54d"),
        (["seed=3", "controller.kp=1.0", "group=x", "sweep=y", "tracking.wandb=offline", "+tags=[a]"],
         "controller.kp=1.0,seed=3-da1ee54d"),
        (["dataset.root=/data/x y"], "dataset.root=-data-x-y-"),
        (["model.arch=" + "a" * 200], "model.arch=" + "a" * 69 + "-"),
        (["dataset.train_rows=2000", "dataset.val_rows=500", "experiment=cifar10_stale", "recipe.epochs=12"],
         "dataset.train_rows=2000,dataset.val_rows=500,experiment=cifar10_stale-"),
    ],
    ids=str,
)  # fmt: skip
def test_the_folder_of_a_job(overrides: list[str], name: str) -> None:
    assert re.fullmatch(re.escape(name) + (r"[0-9a-f]{8}" if name.endswith("-") else ""), job_name(overrides))


def test_jobs_that_differ_beyond_their_names_have_folders_of_their_own() -> None:
    long = "model.arch=" + "a" * 100
    assert len({job_name([long + end]) for end in "bcd"}) == 3
    assert job_name(["dataset.root=/x"]) != job_name(["dataset.root=-x"])
    assert re.fullmatch(r"dataset\.root=-data-[0-9a-f]{8}", job_name(["dataset.root=/home/alice/data"]))
    assert job_name(["dataset.root=/home/alice/data"]) != job_name(["dataset.root=/home/bob/data"])


def test_a_sweep_without_a_name_gets_one(no_launch: None) -> None:
    assert sweep_name(None, None) == f"sweep_{launch_id()}"
