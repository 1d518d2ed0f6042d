"""The schema: a strict dataclass of settings for each choice of a config group.

Values and their meaning are in `conf/<group>/<choice>.yaml`. Types and ranges follow from the arguments of what is
built; those of the other groups are here. A new method, controller, significance, data set or model is a Python file
and a yaml file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Lt
from pydantic import model_validator
from pydantic.dataclasses import dataclass

from ast_experiments.config.schema.dataset import DATASETS
from ast_experiments.config.schema.energy import EnergyConfig
from ast_experiments.config.schema.fields import STRICT
from ast_experiments.config.schema.hardware import HardwareConfig
from ast_experiments.config.schema.model import MODELS
from ast_experiments.config.schema.recipe import RecipeConfig
from ast_experiments.config.schema.selection import CONTROLLERS, METHODS, SIGNIFICANCES
from ast_experiments.config.schema.tracking import TrackingConfig
from ast_experiments.core.ranges import Count, Positive, Seed

__all__ = ["CHOICES", "SHARED", "Config", "RunConfig"]

CHOICES: dict[str, Mapping[str, type]] = {
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
class RunConfig:
    """Settings of a run that are in no group."""

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


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Config(RunConfig):
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

    @model_validator(mode="after")
    def _together(self) -> Self:
        # Constructors know which settings go together. They import torch.
        from ast_experiments.selection.build import build_controller, build_method, build_significance

        build_controller(self.controller)
        build_significance(self.significance)
        build_method(self.method, self.controller, self.significance)
        return self
