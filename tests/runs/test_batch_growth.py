"""Batch growth: sizes by epoch, the same rows in fewer steps, resumed runs, and what cannot have it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_tools import assert_same_run, composed, interrupt_at, stable_rows, stops_until_done

from ast_experiments.config.checks import check
from ast_experiments.config.compose import load_config
from ast_experiments.core.errors import ConfigError
from ast_experiments.runs.run import execute
from ast_experiments.selection.plan import Plan
from ast_experiments.training.batch_growth import growth_by_epoch, largest_batch

SMALL = [
    "experiment=quickstart",
    "dataset.train_rows=320",
    "recipe.batch_size=16",
    "recipe.epochs=4",
    "eval_every=4",
    "tracking=jsonl",
    "tracking.console=false",
    "tracking.report=false",
    "energy.idle_seconds=0",
]


def run(folder: Path, *overrides: str) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    return execute(composed(*SMALL, *overrides), folder)


@pytest.mark.parametrize(
    ("value", "epochs", "expected"),
    [
        ("4", 4, (1, 1, 4, 4)),
        ("2", 5, (1, 1, 2, 2, 2)),  # the middle of the third epoch is half of the run
        ("{factor: 3, after: 0.8}", 5, (1, 1, 1, 1, 3)),
        ("null", 4, ()),
    ],
)
def test_batches_grow_with_the_epochs(value: str, epochs: int, expected: tuple[int, ...]) -> None:
    recipe = load_config([*SMALL, f"recipe.epochs={epochs}", f"recipe.batch_growth={value}"]).recipe
    assert growth_by_epoch(recipe.batch_growth, epochs) == expected
    assert largest_batch(recipe) == 16 * max(expected, default=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["recipe.batch_growth=1"], "recipe.batch_growth.factor: 1 is wrong; must be at least 2"),
        (["recipe.batch_growth=2.5"], "recipe.batch_growth.factor: 2.5 is wrong"),
        (["recipe.batch_growth={factor: 2, after: 1.0}"], "recipe.batch_growth.after: 1.0 is wrong"),
        (["recipe.batch_growth=true"], "recipe.batch_growth: True is wrong"),
        (["recipe.batch_growth=2", "method=ast_fresh"], "method=ast_fresh chooses from loaded batches"),
    ],
)
def test_wrong_settings_are_refused(settings: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check(load_config([*SMALL, *settings]))


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (16, "batches of 480 rows are larger than the 320 training samples; type recipe.batch_growth=20 or less"),
        (200, "batches of 200 rows cannot grow with 320 training samples; type recipe.batch_growth=null"),
    ],
)
def test_a_batch_is_no_larger_than_the_training_set(tmp_path: Path, size: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(tmp_path / "run", "recipe.batch_growth=30", "method=dense", f"recipe.batch_size={size}")


def test_a_merged_plan_trains_the_same_rows() -> None:
    plan = Plan(
        np.arange(23),
        offered=50,
        load_batch=4,
        weights=np.linspace(0, 1, 23, dtype=np.float32),
        offered_by_batch=np.array([9, 20, 28, 41, 50]),
        trace={"picked": np.array([4, 5, 3, 4, 4]), "control/threshold": np.array([0.1, 0.2, 0.3, 0.4, 0.5])},
    )
    merged = plan.merged(2)
    assert merged.ids.tolist() == list(range(20))  # the last three fill no batch of the plan
    assert merged.batch_sizes == [8, 8, 4]
    assert [merged.offered_by(batch) for batch in range(merged.batches)] == [20, 41, 50]
    assert merged.trace["picked"].tolist() == [9, 7, 4]
    assert merged.trace["control/threshold"].tolist() == [0.2, 0.4, 0.5]
    assert merged.weights is not None
    assert plan.weights is not None
    np.testing.assert_array_equal(merged.weights, plan.weights[:20])
    assert plan.merged(1) is plan


@pytest.mark.parametrize("method", ["dense", "ast", "infobatch", "rs2", "kakurenbo"])
def test_larger_batches_train_as_many_rows_in_fewer_steps(tmp_path: Path, method: str) -> None:
    chosen = f"method={method}"
    plain, grown = run(tmp_path / "plain", chosen), run(tmp_path / "grown", chosen, "recipe.batch_growth=4")
    assert grown["batch"]["largest"] == 64
    assert "largest" not in plain["batch"]
    assert grown["rows_by_epoch"][:2] == plain["rows_by_epoch"][:2]
    if method in ("dense", "rs2", "ast"):  # these train a number of rows that losses do not change
        assert grown["rows_trained"] == plain["rows_trained"]
    steps = [sum(row["kind"] == "step" for row in stable_rows(tmp_path / name)) for name in ("plain", "grown")]
    assert steps == [plain["steps"], grown["steps"]]
    assert grown["steps"] < 0.75 * plain["steps"]
    trained = [row["samples_seen"] for row in stable_rows(tmp_path / "grown") if row["kind"] == "step"]
    assert trained[-1] == grown["rows_trained"]
    assert max(np.diff(trained)) == 64


@pytest.mark.parametrize("method", ["dense", "ast"])
def test_resumed_run_is_bit_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    overrides = [f"method={method}", "recipe.batch_growth=4", "recipe.ema_decay=0.9"]
    whole = run(tmp_path / "whole", *overrides)
    last = whole["steps"]
    interrupt_at(monkeypatch, {last // 3, last - 2, last - 1})
    stops = stops_until_done(lambda: run(tmp_path / "broken", *overrides))
    assert 2 <= stops < 10
    assert_same_run(tmp_path / "whole", tmp_path / "broken")
