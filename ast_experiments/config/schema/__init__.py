"""The schema: one dataclass per choice of a config group, and the tables of choices.

Values and their meaning live in `conf/<group>/<choice>.yaml`; the module named like the group holds their types and
ranges, and a table of where each choice is built. A new choice is one yaml file and one row of that table (and a
dataclass, unless an existing one fits). The settings of data sets and networks follow from the arguments of the
functions that load or build them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from annotated_types import Ge, Lt
from pydantic.dataclasses import dataclass

from ast_experiments.config.schema.controller import CONTROLLERS
from ast_experiments.config.schema.dataset import DATASETS
from ast_experiments.config.schema.energy import EnergyConfig
from ast_experiments.config.schema.fields import STRICT, Choice
from ast_experiments.config.schema.hardware import HardwareConfig
from ast_experiments.config.schema.method import METHODS
from ast_experiments.config.schema.model import MODELS
from ast_experiments.config.schema.recipe import RecipeConfig
from ast_experiments.config.schema.significance import SIGNIFICANCES
from ast_experiments.config.schema.tracking import TrackingConfig
from ast_experiments.core.ranges import Count, Positive, Seed

__all__ = ["CHOICES", "SHARED", "Choice", "Config"]

CHOICES: dict[str, Mapping[str, Choice]] = {
    "dataset": DATASETS,
    "model": MODELS,
    "method": METHODS,
    "controller": CONTROLLERS,
    "significance": SIGNIFICANCES,
}

SHARED: dict[str, type] = {
    "recipe": RecipeConfig,
    "hardware": HardwareConfig,
    "energy": EnergyConfig,
    "tracking": TrackingConfig,
}
"""Groups whose choices have the same settings: a new choice is one yaml file."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Config:
    """One experiment, checked."""

    dataset: Any
    model: Any
    method: Any
    controller: Any
    significance: Any
    recipe: RecipeConfig
    hardware: HardwareConfig
    energy: EnergyConfig
    tracking: TrackingConfig
    experiment_name: str | None
    seed: Seed
    holdout: Annotated[float, Ge(0), Lt(1)]
    group: str | None
    tags: list[str]
    checkpoint_every_s: Positive
    eval_every: Count
    eval_on: Literal["val", "holdout"]
    eval_views: bool
    max_steps: Count | None
    profile: bool
