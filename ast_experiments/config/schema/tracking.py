"""Settings of `tracking`: the log, trackers and the report."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Le
from pydantic.dataclasses import dataclass

from ast_experiments.config.schema.fields import STRICT
from ast_experiments.core.ranges import Count, Positive


@dataclass(config=STRICT, frozen=True, kw_only=True)
class TrackingConfig:
    """The log, trackers and the report."""

    name: str
    console: bool
    wandb: Literal["auto", "online", "offline", "disabled"]
    wandb_timeout_s: Positive
    project: str
    entity: str | None
    artifacts: bool
    wandb_samples: bool
    tensorboard: bool
    log_every: Count
    report: bool
    predictions: bool
    pictures: Annotated[int, Ge(0), Le(100)]
    paths: bool = False
