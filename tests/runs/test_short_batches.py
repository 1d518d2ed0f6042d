"""A batch of one row never reaches a BatchNorm over one pixel: such a run is refused before it begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from ast_experiments.config.compose import load_config
from ast_experiments.core import distributed
from ast_experiments.core.errors import ConfigError
from ast_experiments.models.build import trains_one_row
from ast_experiments.runs.build import build_run
from ast_experiments.runs.networks import _lonely
from ast_experiments.tracking import Trackers

NORMED = ["~experiment", "model=resnet18_cifar", "recipe=sgd", "recipe.warmup_epochs=0", "recipe.epochs=6"]
ROWS = ["dataset.train_rows=129", "dataset.val_rows=20", "recipe.batch_size=32"]
QUIET = ["tracking=jsonl", "energy=nominal", "hardware=cpu", "hardware.threads=1"]


def build(folder: Path, *overrides: str) -> None:
    run = build_run(load_config([*NORMED, *ROWS, *QUIET, *overrides]), folder, lambda facts: Trackers([]))
    run.close()


@pytest.mark.parametrize(
    "overrides",
    [
        ["method=dense"],
        ["method=random", "method.rate=0.5", "method.final_epochs=1"],
        ["method=random", "method.rate=0.5", "method.warmup_epochs=1"],
        ["method=ast_masked", "method.rate=0.5"],
        ["method=infobatch"],
    ],
    ids=["dense", "final epochs", "warm-up epochs", "masked", "without a rate"],
)
def test_one_row_is_left_over(overrides: list[str], tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^recipe\.batch_size: 32 leaves one row .* 129 .*; type recipe\.batch_size=31$"
    ):
        build(tmp_path, *overrides)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "overrides",
    [
        ["method=dense", "recipe.batch_size=31"],
        ["method=random", "method.rate=0.5"],
        ["method=dense", "dataset.train_rows=130"],
        ["method=dense", "model=simple_cnn"],
    ],
    ids=["advice", "full batches", "two rows", "no BatchNorm"],
)
def test_what_can_train_is_built(overrides: list[str], tmp_path: Path) -> None:
    build(tmp_path, *overrides)


def test_batches_of_any_size_need_a_network_that_takes_them(tmp_path: Path) -> None:
    fresh = ["method=ast_fresh", "method.rate=0.5", "method.rate_schedule=constant"]
    with pytest.raises(ConfigError, match=r"^method\.packing: false .*; type method\.packing=true$"):
        build(tmp_path, *fresh, "method.packing=false")
    build(tmp_path, *fresh, "method.packing=true")


@pytest.mark.parametrize(
    ("samples", "batch", "processes", "lonely"),
    [
        (129, 32, 1, True),
        (130, 32, 1, False),
        (128, 32, 1, False),
        (130, 32, 2, True),
        (129, 32, 2, True),
        (131, 32, 2, True),
        (132, 32, 2, False),
    ],
)
def test_rows_of_each_process(samples: int, batch: int, processes: int, lonely: bool) -> None:
    assert _lonely(samples, batch, processes) == lonely
    assert distributed.size() == 1


def test_the_network_is_left_as_it_is() -> None:
    import torch
    from torch import nn

    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert not trains_one_row(model, 1, 3)
    assert trains_one_row(model, 1, 4)
    assert not model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
