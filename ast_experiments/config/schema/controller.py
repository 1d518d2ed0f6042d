"""Controllers: what moves the threshold to hold the rate."""

from __future__ import annotations

from typing import Annotated, Self

from annotated_types import Ge, Gt, Lt
from pydantic import model_validator
from pydantic.dataclasses import dataclass

from ast_experiments.config.schema.fields import STRICT, Choice
from ast_experiments.core.ranges import NonNegative, Positive, Smoothing


@dataclass(config=STRICT, frozen=True, kw_only=True)
class PIConfig:
    """Proportional-integral control of the log-threshold."""

    name: str
    kp: NonNegative | None
    ki: NonNegative | None
    alpha: Annotated[float, Gt(0), Lt(1)]
    settling_windows: Annotated[float, Ge(1)]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class QuantileConfig:
    """Online quantile tracking."""

    name: str
    eta: Positive
    alpha: Smoothing


@dataclass(config=STRICT, frozen=True, kw_only=True)
class TopKConfig:
    """An exact count of each window or batch."""

    name: str
    alpha: Smoothing


@dataclass(config=STRICT, frozen=True, kw_only=True)
class SundewReportConfig:
    """The law of the CIFAR-10 report."""

    name: str
    kp: NonNegative
    ki: NonNegative
    alpha: Smoothing
    start: float
    integral_limit: Positive


@dataclass(config=STRICT, frozen=True, kw_only=True)
class SundewBatchConfig(SundewReportConfig):
    """The law of the comparison and of the two-stage run."""

    low: float
    high: float

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if not self.low <= self.start <= self.high:
            raise ValueError(
                f"controller.start: {self.start} must lie between controller.low={self.low} "
                f"and controller.high={self.high}"
            )
        return self


_CONTROL = "ast_experiments.selection.control"

CONTROLLERS: dict[str, Choice] = {
    "pi": Choice(PIConfig, f"{_CONTROL}.pi:PI"),
    "quantile": Choice(QuantileConfig, f"{_CONTROL}.quantile:Quantile"),
    "topk": Choice(TopKConfig, f"{_CONTROL}.topk:TopK"),
    "sundew_report": Choice(SundewReportConfig, f"{_CONTROL}.sundew_report:SundewReport"),
    "sundew_comparison": Choice(SundewBatchConfig, f"{_CONTROL}.sundew_comparison:SundewComparison"),
    "sundew_two_stage": Choice(SundewBatchConfig, f"{_CONTROL}.sundew_two_stage:SundewTwoStage"),
}
