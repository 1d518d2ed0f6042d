"""What is searched for: figures of result.json, each to be large or small."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ast_experiments.analysis.control import ControlQuality
from ast_experiments.core.errors import ConfigError, UserError

UP, DOWN = "max", "min"
SIDES = {"final_accuracy": UP, "best_accuracy": UP, "final_val_loss": DOWN, "compute_savings": UP,
         "nominal_savings": UP, "skipped_share": UP, "rows_trained": DOWN, "rows_scored": DOWN,
         "seconds_to_accuracy": DOWN, "joules_to_accuracy": DOWN}  # fmt: skip
"""Figures of which it is plain what is better."""

OTHERS = ("control", "energy", "flops", "seconds", "selection", "budget", "mean_activation_rate",
          "last_quarter_activation_rate", "steps", "epochs", "best_epoch")  # fmt: skip
CURVES = {"final_accuracy": "val/accuracy", "best_accuracy": "val/accuracy", "final_val_loss": "val/loss"}
"""Figures that the validation curve leads up to."""


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure of a result.

    Attributes:
        key: Where it is in result.json, with dots.
        side: `max` if more of it is better, else `min`.
    """

    key: str
    side: str

    @property
    def direction(self) -> str:
        """Optuna's word for the side."""
        return "maximize" if self.side == UP else "minimize"

    def better(self, one: float, other: float) -> bool:
        """Whether the first value is better than the second."""
        return one > other if self.side == UP else one < other

    def of(self, result: Mapping[str, Any]) -> float | None:
        """The figure of a run; None if the run did not come to it.

        Raises:
            UserError: If runs of this kind have no such figure.
        """
        found: Any = result
        for part in self.key.split("."):
            if not isinstance(found, Mapping) or part not in found:
                raise UserError(
                    f"goal={self.key}: these runs have no such figure; there are: {', '.join(_keys(result))}"
                )
            found = found[part]
        if isinstance(found, bool) or not isinstance(found, int | float | None):
            raise UserError(f"goal={self.key}: is not a number; there are: {', '.join(_keys(result))}")
        return None if found is None else float(found)


def parse_goals(text: str) -> tuple[Goal, ...]:
    """Goals from `KEY`, `KEY:min`, `KEY:max`, or several with commas.

    Raises:
        ConfigError: If one cannot be read, or cannot be a figure of result.json.
    """
    goals = tuple(_goal(entry.strip()) for entry in text.strip("[]").split(","))
    if len({goal.key for goal in goals}) < len(goals):
        raise ConfigError(f"goal={text}: names a figure twice")
    return goals


def _goal(entry: str) -> Goal:
    found = re.fullmatch(rf"([\w.]+)(?::({UP}|{DOWN}))?", entry)
    if found is None:
        raise ConfigError(f"goal={entry}: expected KEY, KEY:{UP} or KEY:{DOWN} with KEY in result.json")
    key, side = found.groups()
    if key.split(".")[0] not in (*SIDES, *OTHERS):
        raise ConfigError(f"goal={key}: result.json has no such figure; there are: {', '.join((*SIDES, *OTHERS))}")
    if key.startswith("control.") and key not in (known := [f"control.{each.name}" for each in fields(ControlQuality)]):
        raise ConfigError(f"goal={key}: result.json has no such figure; there are: {', '.join(known)}")
    side = side or SIDES.get(key)
    if side is None:
        raise ConfigError(f"goal={key}: is more of it better or less? type goal={key}:{UP} or goal={key}:{DOWN}")
    return Goal(key, side)


def _keys(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys of the numbers."""
    found = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            found += _keys(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found.append(prefix + key)
    return found
