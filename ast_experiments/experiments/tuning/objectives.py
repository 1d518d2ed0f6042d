"""Objectives of a search: figures of result.json, each to maximise or to minimise."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ast_experiments.core.errors import ConfigError, UserError
from ast_experiments.core.text import amount
from ast_experiments.runs.control_quality import ControlQuality

MAX, MIN = "max", "min"
DIRECTIONS = {"final_accuracy": MAX, "best_accuracy": MAX, "final_val_loss": MIN, "compute_savings": MAX,
              "nominal_savings": MAX, "skipped_share": MAX, "rows_trained": MIN, "rows_scored": MIN,
              "seconds_to_accuracy": MIN, "joules_to_accuracy": MIN}  # fmt: skip
"""Figures with a known direction."""

UNDIRECTED = ("control", "energy", "flops", "seconds", "selection", "budget", "mean_activation_rate",
              "last_quarter_activation_rate", "steps", "epochs", "best_epoch")  # fmt: skip
"""Figures, and groups of figures, whose direction the user must type."""

SHARES = ("compute_savings", "nominal_savings", "skipped_share", "mean_activation_rate", "last_quarter_activation_rate")
UNITS = {"rows": "rows", "joules": "J", "_j": "J", "flops": "FLOP", "seconds": "s", "_s": "s"}
"""Units by the beginning or the end of a key."""

CURVES = {"final_accuracy": "val/accuracy", "best_accuracy": "val/accuracy", "final_val_loss": "val/loss"}
"""Validation curves by the figure that they lead to."""


@dataclass(frozen=True, slots=True)
class Objective:
    """A figure of result.json and its direction.

    Attributes:
        key: Path of the figure in result.json, with dots.
        direction: `max` or `min`.
    """

    key: str
    direction: str

    def __str__(self) -> str:
        return f"{self.key}:{self.direction}"

    @property
    def optuna_direction(self) -> str:
        """The direction as Optuna spells it."""
        return f"{self.direction}imize"

    @property
    def axis(self) -> str:
        """Label of an axis with the figure; accuracies have their unit."""
        return f"{self.key}, %" if self.told(1.0) == "1.00 %" else self.key

    def told(self, value: float) -> str:
        """Formats a value of the figure with its unit."""
        first, last = self.key.split(".")[0], self.key.split(".")[-1]
        if first in ("final_accuracy", "best_accuracy"):
            return f"{value:.2f} %"
        if last in SHARES:
            return f"{100 * value:.2f} %"
        unit = next((unit for words, unit in UNITS.items() if first.startswith(words) or last.endswith(words)), None)
        return f"{value:.5g}" if unit is None else amount(value, unit)

    def value(self, result: Mapping[str, Any]) -> float | None:
        """Returns the figure of a run; None if this run did not reach it.

        Raises:
            UserError: If runs of this kind have no such figure.
        """
        found: Any = result
        for part in self.key.split("."):
            if not isinstance(found, Mapping) or part not in found:
                raise UserError(f"goal={self.key}: not in the results of these runs; expected {_listed(result)}")
            found = found[part]
        if isinstance(found, bool) or not isinstance(found, int | float | None):
            raise UserError(f"goal={self.key}: is not a number; expected {_listed(result)}")
        return None if found is None else float(found)


def parse_objectives(text: str) -> tuple[Objective, ...]:
    """Parses `KEY`, `KEY:min`, `KEY:max`, or several of them with commas.

    Raises:
        ConfigError: If one cannot be parsed, or cannot be a figure of result.json.
    """
    objectives = tuple(_parse_objective(entry.strip()) for entry in text.strip("[]").split(","))
    if len({each.key for each in objectives}) < len(objectives):
        raise ConfigError(f"goal={text}: names a figure twice; type each figure once")
    return objectives


def _parse_objective(entry: str) -> Objective:
    found = re.fullmatch(rf"([\w.]+)(?::({MAX}|{MIN}))?", entry)
    if found is None:
        raise ConfigError(f"goal={entry}: expected KEY, KEY:{MAX} or KEY:{MIN} with KEY in result.json")
    key, direction = found.groups()
    if key.split(".")[0] not in (*DIRECTIONS, *UNDIRECTED):
        expected = ", ".join((*DIRECTIONS, *UNDIRECTED))
        raise ConfigError(f"goal={key}: result.json has no such figure; expected one of {expected}")
    if key.startswith("control.") and key not in (known := [f"control.{each.name}" for each in fields(ControlQuality)]):
        raise ConfigError(f"goal={key}: result.json has no such figure; expected one of {', '.join(known)}")
    direction = direction or DIRECTIONS.get(key)
    if direction is None:
        raise ConfigError(f"goal={key}: has no default direction; type goal={key}:{MAX} or goal={key}:{MIN}")
    return Objective(key, direction)


def _listed(result: Mapping[str, Any]) -> str:
    return f"one of {', '.join(_numeric_keys(result))}"


def _numeric_keys(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Returns the dotted keys of all numbers."""
    found = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            found += _numeric_keys(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found.append(prefix + key)
    return found
