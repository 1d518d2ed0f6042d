"""Significance: the score of a sample."""

from __future__ import annotations

from typing import Literal

from pydantic.dataclasses import dataclass

from ast_experiments.config.schema.fields import STRICT, Choice
from ast_experiments.core.ranges import NonNegative


@dataclass(config=STRICT, frozen=True, kw_only=True)
class LossConfig:
    """The loss alone."""

    name: str


@dataclass(config=STRICT, frozen=True, kw_only=True)
class LossIntensityConfig:
    """Loss and image contrast."""

    name: str
    variant: Literal["report", "comparison"]
    loss_weight: NonNegative
    intensity_weight: NonNegative


@dataclass(config=STRICT, frozen=True, kw_only=True)
class LossEntropyConfig:
    """Loss and predictive entropy."""

    name: str
    loss_weight: NonNegative
    entropy_weight: NonNegative


_SIGNIFICANCE = "ast_experiments.selection.significance"

SIGNIFICANCES: dict[str, Choice] = {
    "loss": Choice(LossConfig, f"{_SIGNIFICANCE}:build_loss"),
    "loss_intensity": Choice(LossIntensityConfig, f"{_SIGNIFICANCE}:build_loss_intensity"),
    "loss_entropy": Choice(LossEntropyConfig, f"{_SIGNIFICANCE}:build_loss_entropy"),
}
