"""Every experiment, and every debug mode, runs on a CPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from ast_experiments.compose import CONF, compose, typed
from ast_experiments.training.launch import execute

QUIET = ["tracking=jsonl", "tracking.console=false", "tracking.report=false"]
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_runs_two_steps(tmp_path: Path, tiny_cifar10: Path, name: str) -> None:
    config = typed(compose([f"experiment={name}", *QUIET]))
    limits = ["max_steps=2", "dataset.train_rows=512", "dataset.val_rows=64"]
    if hasattr(config.dataset, "root"):
        limits.append(f"dataset.root={tiny_cifar10}")
    if config.model.name.startswith("resnet"):
        limits.append("recipe.batch_size=8")
    result = execute(typed(compose([f"experiment={name}", *QUIET, *limits])), tmp_path)
    assert result["status"] == "finished"
    assert result["steps"] == 2
    assert result["experiment"] == name


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_says_what_it_reaches_and_costs(name: str) -> None:
    head = (CONF / "experiment" / f"{name}.yaml").read_text().split("experiment_name")[0]
    for word in ("Reaches", "Costs", f"experiment={name}" if name != "quickstart" else "ast-train"):
        assert word in head


def test_debug_one_batch(tmp_path: Path) -> None:
    result = execute(typed(compose(["debug=one_batch", "tracking.console=false"])), tmp_path)
    assert (result["status"], result["steps"]) == ("finished", 1)


def test_debug_overfit(tmp_path: Path) -> None:
    from ast_experiments.analysis.runs import read_run

    result = execute(typed(compose(["debug=overfit", "tracking.console=false", "tracking.report=false"])), tmp_path)
    assert result["status"] == "finished"
    assert read_run(tmp_path).steps[-1]["train/loss"] < 0.1


def test_debug_profile(tmp_path: Path) -> None:
    execute(typed(compose(["debug=profile", "tracking.console=false", "tracking.report=false"])), tmp_path)
    assert (tmp_path / "trace.json").exists()
    assert "aten::" in (tmp_path / "profile.txt").read_text()
