"""Adaptive sparse training: `stale` scores chosen from before loading, `gather` and `masked` as published."""

from __future__ import annotations

from typing import Any, Literal

from ast_experiments.selection.control.controller import Controller
from ast_experiments.selection.methods.ast import Stale
from ast_experiments.selection.methods.ast_fresh import Fresh
from ast_experiments.selection.significance import Significance


def build(
    controller: Controller[Any],
    significance: Significance,
    *,
    scoring: Literal["stale", "gather", "masked"],
    **settings: Any,
) -> Stale | Fresh:
    """The selector for a way of scoring; settings at None are left at the selector's default."""
    given = {name: value for name, value in settings.items() if value is not None}
    if scoring == "stale":
        return Stale(controller, significance, **given)
    return Fresh(controller, significance, execution=scoring, **given)
