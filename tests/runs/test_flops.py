"""The ledger's FLOPs against operations counted while an epoch really ran."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_tools import BASE
from torch.utils.flop_counter import FlopCounterMode

from ast_experiments.config.compose import load_config
from ast_experiments.runs.build import build_run
from ast_experiments.tracking import Trackers

MODES = {
    "dense": ["method=dense"],
    "stale": ["method=ast", "method.rate=0.5"],
    "gather": ["method=ast_fresh", "method.rate=0.5"],
    "masked": ["method=ast_masked"],
}


@pytest.mark.parametrize("mode", MODES)
def test_the_ledger_counts_what_is_done(mode: str, tmp_path: Path) -> None:
    settings = [*BASE, "hardware.device=cpu", "recipe.batch_size=64", "dataset.val_rows=100", *MODES[mode]]
    run = build_run(load_config(settings), tmp_path, lambda _: Trackers([]))
    run.stepper.model.train()
    with FlopCounterMode(display=False) as counter:
        run.run_epoch()
    flops = run.ledger.flops
    assert sum(flops.values()) == counter.get_total_flops()
    assert run.cost.flops is not None
    assert flops["val"] == 100 * run.cost.flops.forward
    assert (flops["score"] > 0) == (mode == "gather")
    if mode == "masked":
        assert flops["train"] == 400 * (run.cost.flops.forward + run.cost.flops.backward)
