"""A run that is stopped and resumed ends as one that never stopped, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from run_tools import assert_same_run, interrupt_at, run, stable_rows

from ast_experiments.config.schema import CHOICES
from ast_experiments.core.errors import Interrupted, UserError
from ast_experiments.training import checkpoint

METHODS = {
    "dense": ["method=dense"],
    "random": ["method=random"],
    "rs2": ["method=rs2", "method.rate=0.7"],
    "curriculum": ["method=curriculum"],
    "infobatch": ["method=infobatch"],
    "selective_backprop": ["method=selective_backprop", "method.fresh_every=2"],
    "orderdp": ["method=orderdp"],
    "seta": ["method=seta"],
    "kakurenbo": ["method=kakurenbo", "recipe.lr=0.01"],
    "stale": [],
    "stale, linear, warm-up": [
        "method.rate_schedule=linear",
        "method.rate=0.6",
        "method.rate_final=0.2",
        "method.warmup_epochs=1",
    ],
    "topk": ["method.pick=topk"],
    "exact windows": ["controller=topk"],
    "proportional": ["method.pick=proportional", "method.temperature=0.5", "method.exploration=0.1"],
    "reweighted": ["method.pick=proportional", "method.reweight=true"],
    "quantile": ["controller=quantile", "significance=loss_entropy"],
    "gather": ["method=ast_fresh", "method.score_mode=train"],
    "packed": ["method=ast_fresh", "method.warmup_epochs=1", "method.final_epochs=1", "tracking.log_every=3"],
    "packed, exact": ["method=ast_fresh", "controller=topk", "method.rate=0.3"],
    "packed, by a proxy": ["method=ast_fresh", "method.score_net=proxy", "method.proxy_every=2"],
    "selective_backprop, fresh": ["method=selective_backprop_fresh"],
    "rho_loss": ["method=rho_loss", "holdout=0.2", "method.rate=0.3", "method.irreducible_epochs=2"],
    "proxy": ["method=proxy", "method.rate=0.4", "method.proxy_every=2"],
    "masked": ["method=ast_masked", "controller=sundew_two_stage", "controller.low=0.01", "controller.start=2.0"],
    "report": [
        "method=ast_fresh",
        "method.rate=0.1",
        "controller=sundew_report",
        "significance=loss_intensity",
    ],
    "stale, published law": ["controller=sundew_report", "significance=loss_intensity"],
    "log every 7, ema, clip": [
        "tracking.log_every=7",
        "recipe.ema_decay=0.9",
        "recipe.clip_grad=1.0",
        "recipe.optimizer=sgd",
    ],
    "stopped by max_steps": ["max_steps=7"],
    "workers": ["hardware.data_on_device=false", "hardware.workers=1"],
}
DEFAULTS = {"method=ast", "controller=pi", "significance=loss"}
TYPED = {override for overrides in METHODS.values() for override in overrides}
METHODS |= {
    f"{group}={name}": [f"{group}={name}"]
    for group in ("method", "controller", "significance")
    for name in CHOICES[group]
    if f"{group}={name}" not in TYPED | DEFAULTS
}


@pytest.mark.parametrize("overrides", METHODS.values(), ids=METHODS.keys())
def test_resumed_run_is_bit_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str]) -> None:
    whole = run(tmp_path / "whole", overrides)
    assert whole["status"] == "finished"
    last = whole["steps"]
    interrupt_at(monkeypatch, {0, 2, last // 2, last - 1})
    stops = 0
    while True:
        try:
            run(tmp_path / "broken", overrides)
            break
        except Interrupted:
            stops += 1
            state = json.loads((tmp_path / "broken" / "result.json").read_text())
            assert state["status"] == "interrupted"
            assert stops < 10
    assert stops >= 3
    assert_same_run(tmp_path / "whole", tmp_path / "broken")


def test_same_seed_same_losses(tmp_path: Path) -> None:
    run(tmp_path / "a", [])
    run(tmp_path / "b", [])
    run(tmp_path / "c", ["seed=1"])
    assert_same_run(tmp_path / "a", tmp_path / "b")
    assert stable_rows(tmp_path / "a") != stable_rows(tmp_path / "c")


def test_checkpoint_of_another_config_is_refused(tmp_path: Path) -> None:
    run(tmp_path, ["max_steps=3"])
    with pytest.raises(UserError, match="another config"):
        run(tmp_path, ["max_steps=3", "recipe.lr=0.1"])
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["status"], result["steps"]) == ("finished", 3)
    assert run(tmp_path, ["max_steps=3"])["steps"] == 3


def test_a_refused_resume_leaves_the_record_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_at(monkeypatch, {5})
    with pytest.raises(Interrupted):
        run(tmp_path, [])
    told = {path: path.read_bytes() for path in (tmp_path / "result.json", tmp_path / "config.yaml")}
    saved = checkpoint.load(tmp_path / "checkpoints")
    assert saved is not None
    checkpoint.save(tmp_path / "checkpoints", {**saved, "ranks": [*saved["ranks"], *saved["ranks"]]})
    with pytest.raises(UserError, match=r"written by 2 processes, not 1; .* hardware\.processes=2"):
        run(tmp_path, [])
    assert {path: path.read_bytes() for path in told} == told
    checkpoint.save(tmp_path / "checkpoints", saved)
    assert run(tmp_path, [])["resumed"] == 1


def test_divergence_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"NaN or infinite at step \d+; lower recipe.lr"):
        run(tmp_path, ["recipe.optimizer=sgd", "recipe.lr=1e30"])
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["status"] == "failed"
    assert "Diverged" in result["error"]
