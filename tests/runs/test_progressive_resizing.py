"""Progressive resizing: sizes by epoch, exact FLOPs, budgets, resumed runs, and models that cannot have it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from run_tools import assert_same_run, composed, interrupt_at, stable_rows, stops_until_done
from torch.utils.flop_counter import FlopCounterMode

from ast_experiments.config.compose import load_config
from ast_experiments.core.errors import ConfigError
from ast_experiments.data.loaders.resized import resized
from ast_experiments.runs.build import build_run
from ast_experiments.runs.run import execute
from ast_experiments.selection.rate_schedule import EpochCost, RateSchedule, budget_range, budgeted_rate
from ast_experiments.tracking import Trackers
from ast_experiments.training.image_size import size_of_epoch, sizes_by_epoch

SMALL = [
    "experiment=cifar10_speedrun_dense",
    "model.width=0.1",
    "dataset.train_rows=320",
    "dataset.val_rows=64",
    "recipe.batch_size=32",
    "recipe.epochs=4",
    "eval_every=1",
    "eval_views=false",
    "tracking=jsonl",
    "tracking.console=false",
    "tracking.report=false",
    "energy.idle_seconds=0",
]
HALVES = "recipe.progressive_resizing={initial_scale: 0.5, finetune_fraction: 0.5}"  # 16, 16, 32, 32
STEPS = "recipe.progressive_resizing={initial_scale: 0.5, delay_fraction: 0.25, finetune_fraction: 0.25}"  # 16 20 28 32
PACKED = ["method=ast_fresh", "method.rate=0.45"]
METHODS = {
    "dense": [],
    "stale": ["method=ast", "method.rate=0.5"],
    "packed": PACKED,
    "packed, smaller": [*PACKED, "method.score_size=20"],
    "masked": ["method=ast_masked"],
    "proxy": ["method=proxy", "method.proxy_width=0.5"],
    "by a proxy, smaller": [*PACKED, "method.score_net=proxy", "method.proxy_width=0.5", "method.score_size=20"],
    "rescored": ["method=kakurenbo"],
    "rho_loss": ["method=rho_loss", "holdout=0.2", "method.rate=0.5", "method.irreducible_epochs=2"],
}


@pytest.fixture
def root(tiny_cifar10: Path) -> str:
    return f"dataset.root={tiny_cifar10}"


def run(folder: Path, *overrides: str) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    return execute(composed(*SMALL, *overrides), folder)


def epochs_of(folder: Path) -> list[dict[str, Any]]:
    return [row for row in stable_rows(folder) if row["kind"] == "epoch"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["0.75"], [24, 24, 24, 24, 24, 28, 32, 32]),  # of epoch 5, at .6875: .75 + .25 x .1875 / .3, 29 pixels
        (["{initial_scale: 0.5, delay_fraction: 0.5, finetune_fraction: 0.5}"], [16] * 4 + [32] * 4),
        (["{delay_fraction: 0.0, finetune_fraction: 0.0}"], [16, 20, 20, 24, 24, 28, 28, 32]),
        (["{initial_scale: 0.7, size_increment: 1, finetune_fraction: 0.5}"], [22] * 4 + [32] * 4),
        (["{initial_scale: 0.01, finetune_fraction: 0.5}"], [4] * 4 + [32] * 4),
        (["null"], []),
    ],
)
def test_the_size_follows_the_epochs(settings: list[str], expected: list[int]) -> None:
    recipe = load_config([*SMALL, "recipe.epochs=8", f"recipe.progressive_resizing={settings[0]}"]).recipe
    assert list(sizes_by_epoch(recipe.progressive_resizing, 8, 32)) == expected


def test_full_size_need_not_be_a_multiple() -> None:
    settings = {"initial_scale": 0.9, "delay_fraction": 0.5, "finetune_fraction": 0.2, "size_increment": 4}
    assert [size_of_epoch(at, 30, **settings) for at in (0.1, 0.75, 0.9)] == [28, 28, 30]  # pyright: ignore


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("1.5", "recipe.progressive_resizing.initial_scale: 1.5 is wrong"),
        ("{finetune_fraction: 0.6}", "delay_fraction=0.5 and finetune_fraction=0.6 are more than the whole run"),
        ("true", "recipe.progressive_resizing: True is wrong"),
    ],
)
def test_wrong_settings_are_refused(value: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config([*SMALL, f"recipe.progressive_resizing={value}"])


def test_images_are_resized_with_antialiasing() -> None:
    torch.manual_seed(0)
    images = torch.rand(2, 3, 32, 32)
    # Triangles as wide as two pixels of the result: by hand, in one dimension after the other.
    at, middles = np.arange(32) + 0.5, (np.arange(24) + 0.5) * 32 / 24
    weights = np.clip(1 - np.abs(at - middles[:, None]) / (32 / 24), 0, None)
    matrix = torch.from_numpy(weights / weights.sum(1, keepdims=True)).float()
    torch.testing.assert_close(resized(images, 24), matrix @ images @ matrix.T)
    assert resized(images, 32) is images
    assert resized(images[:0], 24).shape == (0, 3, 24, 24)


@pytest.mark.parametrize("method", METHODS)
def test_the_ledger_counts_what_is_done_at_every_size(tmp_path: Path, root: str, method: str) -> None:
    # Muon's own matrix products would be counted; the ledger leaves out what the optimiser does.
    plain = ["hardware.device=cpu", "recipe.optimizer=sgd", "recipe.muon_sgd=null", "recipe.lr=0.01"]
    overrides = [*SMALL, root, STEPS, *plain, *METHODS[method]]
    run = build_run(load_config(overrides), tmp_path, lambda _: Trackers([]))
    run.stepper.model.train()
    with FlopCounterMode(display=False) as counter:
        for _ in range(4):
            run.run_epoch()
    assert sum(run.ledger.flops.values()) == counter.get_total_flops()
    assert run.cost.sizes == (16, 20, 28, 32)
    assert run.ledger.flops["val"] == 4 * 64 * run.cost.forward


def test_dense_training_costs_what_its_sizes_cost(tmp_path: Path, root: str) -> None:
    result, full = run(tmp_path / "sized", root, HALVES), run(tmp_path / "full", root)
    assert result["image_size_by_epoch"] == [16, 16, 32, 32]
    assert "image_size_by_epoch" not in full
    assert "compute_savings_by_size" not in full
    each = full["flops"]["train"] / 4
    *_, second, third, fourth = epochs_of(tmp_path / "sized")
    assert fourth["compute/train_flops"] - third["compute/train_flops"] == each
    assert third["compute/train_flops"] - second["compute/train_flops"] == each
    small = second["compute/train_flops"] / 2
    assert 0.2 * each < small < 0.25 * each  # convolutions: a quarter of the pixels, and less of the border
    assert result["compute_savings"] == fourth["compute/savings"] == 0.0
    assert result["compute_savings_by_size"] == pytest.approx(0.5 * (1 - small / each))
    assert fourth["compute/savings_by_size"] == result["compute_savings_by_size"]
    assert [row["epoch/image_size"] for row in epochs_of(tmp_path / "sized")] == [16, 16, 32, 32]
    assert result["flops"]["val"] == full["flops"]["val"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["stale", "packed", "proxy", "rescored", "rho_loss"])
def test_resumed_run_is_bit_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str, method: str) -> None:
    overrides = [root, STEPS, "recipe.mixup=0.2", *METHODS[method]]
    whole = run(tmp_path / "whole", *overrides)
    last = whole["steps"]
    interrupt_at(monkeypatch, {0, last // 3, last // 2, last - 1})
    stops = stops_until_done(lambda: run(tmp_path / "broken", *overrides))
    assert 3 <= stops < 10
    assert_same_run(tmp_path / "whole", tmp_path / "broken")


def test_budgets_know_the_sizes(tmp_path: Path, root: str) -> None:
    with pytest.raises(ConfigError, match="1,000,000 s cannot be met"):  # the seconds of each size were measured
        run(tmp_path / "seconds", root, STEPS, "method=ast", "method.budget.seconds=1e6")
    spent = run(tmp_path / "all", root, STEPS)["flops"]["train"]
    constant = ["method=ast", "method.rate_schedule=constant"]
    result = run(tmp_path / "half", root, STEPS, *constant, f"method.budget.flops={0.5 * spent}")
    assert result["budget"]["of"] == pytest.approx(1, abs=0.09)  # to a batch at full size, one of twelve
    targets = [row["epoch/target"] for row in epochs_of(tmp_path / "half")]
    assert targets == pytest.approx([0.5] * 4, abs=0.05)  # known from the first epoch on


def test_a_budget_pays_each_epoch_its_size() -> None:
    # 100 an epoch at full size, epochs at .25, .25, 1 and 1: half of all rows costs 125.
    cost, rates = EpochCost(100.0, by_epoch=(0.25, 0.25, 1.0, 1.0)), RateSchedule(0.4)
    assert budgeted_rate(rates, 0, 4, 125.0, cost, 0.1) == pytest.approx(0.5)
    assert budget_range(rates, 4, cost, 0.1) == pytest.approx((25.0, 250.0))
    assert budgeted_rate(rates, 2, 4, 100.0, cost, 0.1) == pytest.approx(0.5)
    # A first epoch that trains every sample costs 25 of 125; the others have 100 for 225.
    warm = RateSchedule(0.4, warmup_epochs=1)
    assert budgeted_rate(warm, 1, 4, 100.0, cost, 0.1) == pytest.approx(100 / 225)


REFUSED = {
    "a flattened head": ("model=simple_cnn", "simple_cnn takes no images of 16 pixels here"),
    "too few pixels": ("recipe.progressive_resizing={initial_scale: 0.25}", "airnet takes no images of 8 pixels"),
    "a proxy": ("method.proxy_arch=vit_tiny_patch16_224", "vit_tiny_patch16_224, takes no images of 16 pixels"),
}


@pytest.mark.parametrize(("override", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_models_of_one_size_are_refused(tmp_path: Path, root: str, override: str, message: str) -> None:
    shared = [each for each in SMALL if "width" not in each]
    config = load_config([*shared, root, HALVES, "method=proxy", override])
    with pytest.raises(ConfigError, match=message) as raised:
        execute(config, tmp_path)
    assert "type recipe.progressive_resizing=null" in str(raised.value)
    assert not (tmp_path / "metrics.jsonl").exists()


def test_workers_make_the_same_pictures(tmp_path: Path, root: str) -> None:
    run(tmp_path / "device", root, HALVES)
    run(tmp_path / "host", root, HALVES, "hardware.data_on_device=false", "hardware.workers=1")
    one, other = (json.loads((tmp_path / each / "result.json").read_text()) for each in ("device", "host"))
    assert one["final_val_loss"] == other["final_val_loss"]
