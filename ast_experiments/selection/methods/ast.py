"""Adaptive sparse training: `stale` scores chosen from before loading, `gather` and `masked` as published."""

from __future__ import annotations

from typing import Literal

from ast_experiments.selection.controllers import Controller
from ast_experiments.selection.methods.ast_fresh import Fresh
from ast_experiments.selection.methods.ast_stale import Stale
from ast_experiments.selection.significance import Significance


def build(
    controller: Controller,
    significance: Significance,
    *,
    scoring: Literal["stale", "gather", "masked"],
    pick: Literal["threshold", "topk"],
    exploration: float,
    window: int,
    score_mode: Literal["train", "eval"],
) -> Stale | Fresh:
    """The selector for a way of scoring; settings of the other ways are not looked at."""
    if scoring == "stale":
        return Stale(controller, significance, pick=pick, exploration=exploration, window=window)
    return Fresh(controller, significance, execution=scoring, score_mode=score_mode)
