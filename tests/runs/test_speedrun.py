"""Runs of the fast network: its clock, its views, and that they go on bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from run_tools import assert_same_run, interrupt_at, stable_rows, weights

from ast_experiments.config.compose import load_config
from ast_experiments.config.preflight import preflight
from ast_experiments.core.errors import ConfigError, Interrupted
from ast_experiments.data.loaders.base import PlannedBatches
from ast_experiments.data.loaders.device import DeviceLoader
from ast_experiments.runs.run import execute

SMALL = [
    "model.width=0.1",
    "dataset.train_rows=320",
    "dataset.val_rows=64",
    "recipe.batch_size=32",
    "recipe.epochs=4",
    "tracking=jsonl",
    "tracking.console=false",
    "tracking.report=false",
    "energy.idle_seconds=0",
]


@pytest.fixture
def root(tiny_cifar10: Path) -> str:
    return f"dataset.root={tiny_cifar10}"


def run(folder: Path, *overrides: str) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    return execute(load_config([*SMALL, *overrides]), folder)


def rows(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [row for row in stable_rows(folder) if row["kind"] == kind]


@pytest.mark.parametrize("experiment", ["cifar10_speedrun_dense", "cifar10_speedrun"])
def test_resumed_run_is_bit_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str, experiment: str) -> None:
    whole = run(tmp_path / "whole", f"experiment={experiment}", root)
    last = whole["steps"]
    interrupt_at(monkeypatch, {0, 2, last // 2, last - 1})
    stops = 0
    while stops < 10:
        try:
            run(tmp_path / "broken", f"experiment={experiment}", root)
            break
        except Interrupted:
            stops += 1
    assert 3 <= stops < 10
    assert_same_run(tmp_path / "whole", tmp_path / "broken")


def test_workers_make_the_same_pictures(tmp_path: Path, root: str) -> None:
    run(tmp_path / "device", "experiment=cifar10_speedrun", root)
    run(tmp_path / "host", "experiment=cifar10_speedrun", root, "hardware.data_on_device=false", "hardware.workers=1")
    one, other = weights(tmp_path / "device"), weights(tmp_path / "host")
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_views_are_reported_beside_the_plain_accuracy(tmp_path: Path, root: str) -> None:
    result = run(tmp_path / "views", "experiment=cifar10_speedrun_dense", root)
    without = run(tmp_path / "none", "experiment=cifar10_speedrun_dense", root, "eval_views=false")
    *earlier, last = rows(tmp_path / "views", "epoch")
    assert last["val/accuracy_views"] == result["final_accuracy_views"]
    assert not any("val/accuracy_views" in row for row in earlier)
    assert result["final_accuracy"] == without["final_accuracy"]
    assert "final_accuracy_views" not in without
    forward = result["flops"]["forward_per_sample"]
    assert result["flops"]["val"] - without["flops"]["val"] == 5 * 64 * forward


def test_held_out_samples_are_validated_and_the_test_set_is_not(tmp_path: Path, root: str) -> None:
    tuned = run(tmp_path / "tuned", "experiment=cifar10_speedrun_dense", root, "holdout=0.25", "eval_on=holdout")
    other = run(tmp_path / "other", "experiment=cifar10_speedrun_dense", root, "holdout=0.25")
    assert (tuned["train_samples"], tuned["val_samples"]) == (240, 80)
    assert (other["train_samples"], other["val_samples"]) == (240, 64)
    assert tuned["data_fingerprint"] != other["data_fingerprint"]
    one, two = weights(tmp_path / "tuned"), weights(tmp_path / "other")
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())


def test_a_method_that_needs_held_out_samples_has_half_of_them(tmp_path: Path, root: str) -> None:
    overrides = [
        "experiment=cifar10_speedrun_dense",
        "method=rho_loss",
        "method.rate=0.5",
        "method.irreducible_epochs=1",
    ]
    result = run(tmp_path, *overrides, root, "holdout=0.2", "eval_on=holdout")
    assert (result["train_samples"], result["val_samples"]) == (256, 32)


def test_rows_move_the_learning_rate(tmp_path: Path, root: str) -> None:
    run(tmp_path, "experiment=cifar10_speedrun", root, "recipe.clock=rows", "tracking.log_every=1")
    steps = rows(tmp_path, "step")
    # Every step trains one batch. What the rate schedule expects is rounded to batches, so the clock may be one off.
    for index, row in enumerate(steps):
        assert row["train/lr"] / 0.12 == pytest.approx(1 - index / len(steps), abs=1.5 / len(steps))
    assert steps[0]["train/lr"] == 0.12


def test_epochs_move_it_by_default(tmp_path: Path, root: str) -> None:
    run(tmp_path, "experiment=cifar10_speedrun", root)
    steps = rows(tmp_path, "step")
    for row, before in zip(steps[1:], steps, strict=False):
        assert row["train/lr"] == pytest.approx(0.12 * (1 - before["epoch"] / 4))


def test_the_first_convolution_stays_as_it_was_whitened(tmp_path: Path, root: str) -> None:
    run(tmp_path / "one", "experiment=cifar10_speedrun_dense", root, "max_steps=1")
    run(tmp_path / "all", "experiment=cifar10_speedrun_dense", root, "seed=1")
    one, other = (weights(tmp_path / name)["whitening.weight"] for name in ("one", "all"))
    assert torch.equal(one, other)
    assert len(one) == 24
    assert one.abs().max() > 1


def test_a_proxy_of_the_fast_network_is_whitened(tmp_path: Path, root: str) -> None:
    overrides = ["experiment=cifar10_speedrun_dense", "method=proxy", "method.rate=0.5", "method.proxy_every=2"]
    assert run(tmp_path, *overrides, root)["status"] == "finished"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["recipe.optimizer=sgd"], "recipe.muon_sgd: goes with recipe.optimizer=muon_sgd, not with sgd"),
        (["recipe.muon_sgd=null"], "recipe.optimizer: muon_sgd needs the learning rates of recipe.muon_sgd"),
        (["recipe.clock=rows", "recipe.schedule_by=epoch"], "recipe.clock: rows are counted within epochs"),
        (["recipe.clock=days"], "recipe.clock: 'days' is wrong"),
        (["recipe.muon_sgd.head_lr=0"], "recipe.muon_sgd.head_lr: 0 is wrong"),
        (["eval_on=holdout"], "eval_on: holdout needs held-out training samples; type holdout=0.1"),
        (["model.width=0"], "model.width: 0 is wrong"),
        (["dataset.horizontal_flip=sometimes"], "dataset.horizontal_flip"),
        (["dataset.padding_mode=mirror"], "dataset.padding_mode: 'mirror' is wrong"),
    ],
)
def test_wrong_settings_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        preflight(["experiment=cifar10_speedrun_dense", *overrides], multirun=False)


@pytest.mark.parametrize("method", ["ast", "random", "dense", "infobatch"])
def test_alternating_flips_count_the_visits_of_each_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str, method: str
) -> None:
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    load = DeviceLoader.batches

    def watched(self: DeviceLoader, planned: PlannedBatches, epoch: int) -> Any:
        if planned.visits is not None:
            seen.append((planned.ids, planned.visits))
        return load(self, planned, epoch)

    monkeypatch.setattr(DeviceLoader, "batches", watched)
    run(tmp_path, "experiment=cifar10_speedrun_dense", f"method={method}", root)
    visits = np.zeros(320, int)
    assert len(seen) == 4
    for ids, earlier in seen:
        assert np.array_equal(earlier, visits[ids])
        visits[ids] += 1


def test_settings_of_the_run_are_in_its_config(tmp_path: Path, root: str) -> None:
    run(tmp_path, "experiment=cifar10_speedrun", root, "max_steps=1")
    assert json.loads((tmp_path / "result.json").read_text())["model"] == "airnet"
    assert "horizontal_flip: alternating" in (tmp_path / "config.yaml").read_text()
