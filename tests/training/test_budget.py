"""Runs that end on their budget; budgets that cannot be met are refused before training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from run_tools import assert_same_run, interrupt_at, run

from ast_experiments.config.preflight import preflight
from ast_experiments.core.errors import ConfigError, Interrupted
from ast_experiments.energy.ledger import Ledger
from ast_experiments.selection.rate_schedule import Budget, EpochCost, RateSchedule
from ast_experiments.training.budget import BudgetControl, Spent, spent

DIGITS = ["dataset.train_rows=null", "recipe.epochs=10", "eval_every=10"]
COUNTED = {
    "samples": ["method.budget.samples=5000"],
    "samples, falling": ["method.budget.samples=5000", "method.rate_schedule=linear", "method.rate=0.6",
                         "method.rate_final=0.2"],
    "samples, random, dense ends": ["method=random", "method.budget.samples=7000", "method.warmup_epochs=1",
                                    "method.final_epochs=1"],
    "flops": ["method.budget.flops=1e10"],
    "flops, gather": ["method=ast_fresh", "method.budget.flops=2.5e10"],
}  # fmt: skip


@pytest.mark.parametrize("overrides", COUNTED.values(), ids=COUNTED.keys())
def test_counted_budgets_are_met_to_two_percent(tmp_path: Path, overrides: list[str]) -> None:
    result = run(tmp_path, [*DIGITS, *overrides])
    assert result["status"] == "finished"
    assert result["epochs"] == 10
    assert result["budget"]["of"] == pytest.approx(1, abs=0.02)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row for row in rows if row["kind"] == "step"][-1]["train/lr"] < 1e-4  # fully decayed
    if result["budget"]["kind"] == "samples":
        assert result["budget"]["spent"] == result["rows_trained"]
    else:
        flops = result["flops"]
        assert result["budget"]["spent"] == flops["train"] + flops["score"]


REFUSED = {
    "more than dense": (["method.budget.samples=20000"], r"20,000 rows cannot be met: .* spend 320 to 14,420 rows"),
    "less than a batch an epoch": (["method.budget.samples=100"], "give an amount between them, or fewer epochs"),
    "flops": (["method.budget.flops=1e15"], "method.budget.flops: 1e\\+15 FLOPs cannot be met"),
    "seconds": (["method.budget.seconds=1e6"], "1,000,000 s cannot be met: .* spend about"),
    "joules": (["method.budget.joules=1e6"], "no energy meter was found here"),
}
NEVER = {
    "masked": (["method=ast_masked", "method.budget.flops=1e10"], "costs the same at every rate"),
    "published": (
        ["controller=sundew_report", "method.budget.samples=4000"],
        "does not hold the target rate, .*=pi",
    ),
    "dense": (
        ["method=dense", "method.budget.samples=4000"],
        "sets its own rate; .* given to ast, ast_fresh, ast_masked, loss_drop, proxy",
    ),
}


@pytest.mark.parametrize(("overrides", "message"), NEVER.values(), ids=NEVER.keys())
def test_budgets_that_no_rate_keeps_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        preflight(overrides, multirun=False)


@pytest.mark.parametrize(("overrides", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_budget_that_cannot_be_met_is_refused(tmp_path: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(tmp_path, [*DIGITS, "energy=nominal", *overrides])
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_resumed_budget_run_is_bit_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = ["method.budget.flops=1.5e9", "method.rate_schedule=cosine", "method.rate_final=0.2"]
    run(tmp_path / "whole", overrides)
    interrupt_at(monkeypatch, {3, 7, 11})
    for _ in range(3):
        with pytest.raises(Interrupted):
            run(tmp_path / "broken", overrides)
    run(tmp_path / "broken", overrides)
    assert_same_run(tmp_path / "whole", tmp_path / "broken")


def test_seconds_are_steered_by_what_epochs_took() -> None:
    control = BudgetControl(Budget("seconds", 100.0), RateSchedule(0.4), 10, 1000, 10, EpochCost(20.0), exact=False)
    assert control.target(0, []) == pytest.approx(0.5)
    # The first epoch of 500 rows took 20 s instead of 10: 40 s an epoch, and 80 s left for nine.
    assert control.target(1, [Spent(500, 20.0)]) == pytest.approx(80 / 9 / 40)


def test_spending_is_read_in_the_unit_of_the_budget() -> None:
    import torch

    ledger = Ledger(torch.device("cpu"))
    ledger.trained = 7
    ledger.charge("train", 70)
    ledger.charge("val", 1000)
    ledger.charge_score(3, 10)
    ledger.seconds |= {"train": 5.0, "data_wait": 1.0, "score": 2.0, "plan": 1.0, "val": 50.0, "checkpoint": 9.0}
    assert spent("samples", ledger, None) == Spent(7, 7, 0)
    assert spent("flops", ledger, None) == Spent(7, 70, 30)
    assert spent("seconds", ledger, None) == pytest.approx(Spent(7, 6.0, 3.0), rel=1e-3)
    assert spent("joules", ledger, 90.0) == pytest.approx(Spent(7, 60.0, 30.0), rel=1e-3)


def test_a_coarse_budget_says_so() -> None:
    def told(amount: float) -> str:
        budget, whole = Budget("samples", amount), EpochCost(1000.0)
        return BudgetControl(budget, RateSchedule(0.4), 4, 1000, 30, whole, True).check()

    assert told(1000).endswith("outside dense epochs; met to a batch, which is 3.0 % of it")
    assert told(2000).endswith("outside dense epochs")


@pytest.mark.parametrize(
    ("amount", "spent_so_far", "expected"),
    [
        (1000.0, Spent(400, 400.0), None),
        (1000.0, Spent(400, 930.0), "of 1,000 J 70 are left, and 3 epochs spend 140 to 6,975"),
        (9000.0, Spent(400, 400.0), "of 9,000 J 8,600 are left, and 3 epochs spend 60 to 3,000"),
    ],
)
def test_what_is_left_may_be_out_of_reach(amount: float, spent_so_far: Spent, expected: str | None) -> None:
    control = BudgetControl(Budget("joules", amount), RateSchedule(0.4), 4, 1000, 20, EpochCost(float("nan")), False)
    said = control.beyond(1, [spent_so_far])
    assert (said is None) if expected is None else (said is not None and expected in said), said
