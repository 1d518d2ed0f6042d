"""Every experiment, and every debug mode, runs on a CPU."""

from __future__ import annotations

from pathlib import Path

import image_tools
import pytest

from ast_experiments.config.compose import load_config
from ast_experiments.config.groups import CONF
from ast_experiments.config.schema.dataset import EncodedConfig
from ast_experiments.runs.run import execute

QUIET = ["tracking=jsonl", "tracking.console=false", "tracking.report=false"]
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of 6 classes, 24 for training and 12 for validation."""
    root = tmp_path_factory.mktemp("tiny_folder")
    image_tools.folders(root, image_tools.samples())
    return root


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_runs_two_steps(tmp_path: Path, tiny_cifar10: Path, tiny_folder: Path, name: str) -> None:
    config = load_config([f"experiment={name}", *QUIET])
    limits = ["max_steps=2"]
    if isinstance(config.dataset, EncodedConfig):
        limits += [f"dataset.root={tiny_folder}", "dataset.size=64", "recipe.batch_size=4", "hardware.workers=0"]
        # All but the weights; test_config_groups composes and checks the network itself.
        limits += ["model.arch=test_resnet", "model.pretrained=false"]
    else:
        limits += ["dataset.train_rows=512", "dataset.val_rows=64"]
        limits += [f"dataset.root={tiny_cifar10}"] * hasattr(config.dataset, "root")
        limits += [f"recipe.batch_size={8 if config.model.name.startswith('resnet') else 32}"]
    result = execute(load_config([f"experiment={name}", *QUIET, *limits]), tmp_path)
    assert result["status"] == "finished"
    assert result["steps"] == 2
    assert result["experiment"] == name


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_says_what_it_reaches_and_costs(name: str) -> None:
    head = (CONF / "experiment" / f"{name}.yaml").read_text().split("experiment_name")[0]
    for word in ("Reaches", "Costs", f"experiment={name}" if name != "quickstart" else "ast-train"):
        assert word in head


def test_debug_one_batch(tmp_path: Path) -> None:
    result = execute(load_config(["debug=one_batch", "tracking.console=false"]), tmp_path)
    assert (result["status"], result["steps"]) == ("finished", 1)


def test_debug_overfit(tmp_path: Path) -> None:
    from ast_experiments.runs.record import read_run

    result = execute(load_config(["debug=overfit", "tracking.console=false", "tracking.report=false"]), tmp_path)
    assert result["status"] == "finished"
    assert read_run(tmp_path).steps[-1]["train/loss"] < 0.1


def test_debug_profile(tmp_path: Path) -> None:
    execute(load_config(["debug=profile", "tracking.console=false", "tracking.report=false"]), tmp_path)
    assert (tmp_path / "trace.json").exists()
    assert "aten::" in (tmp_path / "profile.txt").read_text()
