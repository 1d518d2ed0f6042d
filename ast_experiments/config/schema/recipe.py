"""Settings of `recipe`: optimiser, schedule and batches."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BeforeValidator, Strict, model_validator
from pydantic.dataclasses import dataclass

from ast_experiments.config.schema.fields import NESTED, STRICT
from ast_experiments.core.ranges import Count, NonNegative, Positive

SMALLEST_ALPHA = 0.001
"""Beta distributions of much smaller or larger parameters cannot be drawn from in float32."""


@dataclass(config=NESTED, frozen=True, kw_only=True)
class FirstStageConfig:
    """First epochs with their own schedule and label smoothing."""

    share: Annotated[float, Strict(), Gt(0), Lt(1)]
    lr_scale: Annotated[float, Strict(), Gt(0)]
    warmup: Annotated[float, Strict(), Ge(0), Lt(1)]
    min_lr: Annotated[float, Strict(), Ge(0)]
    label_smoothing: Annotated[float, Strict(), Ge(0), Lt(1)]


@dataclass(config=NESTED, frozen=True, kw_only=True)
class MuonSGDConfig:
    """Learning rates of the parameters that SGD trains, beside Muon."""

    bias_lr: Annotated[float, Strict(), Gt(0)]
    head_lr: Annotated[float, Strict(), Gt(0)]
    momentum: Annotated[float, Strict(), Ge(0), Lt(1)]


@dataclass(config=NESTED, frozen=True, kw_only=True)
class ProgressiveResizingConfig:
    """Training on smaller images at first; names and defaults are those of MosaicML's Composer."""

    initial_scale: Annotated[float, Strict(), Gt(0), Lt(1)] = 0.5
    delay_fraction: Annotated[float, Strict(), Ge(0), Lt(1)] = 0.5
    finetune_fraction: Annotated[float, Strict(), Ge(0), Lt(1)] = 0.2
    size_increment: Annotated[int, Strict(), Ge(1)] = 4

    @model_validator(mode="after")
    def _shares(self) -> Self:
        if self.delay_fraction + self.finetune_fraction > 1 + 1e-9:
            raise ValueError(
                f"recipe.progressive_resizing: delay_fraction={self.delay_fraction:g} and "
                f"finetune_fraction={self.finetune_fraction:g} are more than the whole run; give shares that add up to "
                "1 or less"
            )
        return self


@dataclass(config=NESTED, frozen=True, kw_only=True)
class BatchGrowthConfig:
    """Training on larger batches later."""

    factor: Annotated[int, Strict(), Ge(2)]
    after: Annotated[float, Strict(), Gt(0), Lt(1)] = 0.5


def _first(name: str) -> BeforeValidator:
    """Takes a number for the first setting of a mapping."""

    def mapping(value: Any) -> Any:
        return {name: value} if isinstance(value, int | float) and not isinstance(value, bool) else value

    return BeforeValidator(mapping)


@dataclass(config=STRICT, frozen=True, kw_only=True)
class RecipeConfig:
    """Optimiser, schedule and batches."""

    name: str
    epochs: Annotated[int, Ge(1), Le(100_000)]
    batch_size: Count
    eval_batch_size: Count
    batch_growth: Annotated[BatchGrowthConfig | None, _first("factor")]
    progressive_resizing: Annotated[ProgressiveResizingConfig | None, _first("initial_scale")]
    optimizer: Literal["sgd", "momentum", "adamw", "adam", "lamb", "lion", "muon", "muon_sgd"]
    lr: Positive
    momentum: Annotated[float, Ge(0), Lt(1)]
    weight_decay: NonNegative
    decay_norm_and_bias: bool
    muon_sgd: MuonSGDConfig | None
    schedule: Literal["constant", "cosine", "poly", "linear"]
    schedule_by: Literal["step", "epoch"]
    clock: Literal["epochs", "rows"]
    warmup_epochs: NonNegative
    warmup_lr: NonNegative
    min_lr: NonNegative
    first_stage: FirstStageConfig | None
    clip_grad: Positive | None
    label_smoothing: Annotated[float, Ge(0), Lt(1)]
    mixup: NonNegative
    cutmix: NonNegative
    soft_labels: str | None
    ema_decay: Annotated[float, Gt(0), Lt(1)] | None

    @model_validator(mode="after")
    def _mixing(self) -> Self:
        for key in ("mixup", "cutmix"):
            alpha = getattr(self, key)
            if alpha and not SMALLEST_ALPHA <= alpha <= 1 / SMALLEST_ALPHA:
                raise ValueError(
                    f"recipe.{key}: {alpha} is wrong; type 0 for none, or an alpha from {SMALLEST_ALPHA} to "
                    f"{1 / SMALLEST_ALPHA:g}"
                )
        return self

    @model_validator(mode="after")
    def _warmup(self) -> Self:
        if self.warmup_epochs and self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"recipe.warmup_epochs: {self.warmup_epochs} leaves nothing of recipe.epochs={self.epochs}"
            )
        return self

    @model_validator(mode="after")
    def _muon_sgd(self) -> Self:
        if (self.optimizer == "muon_sgd") != (self.muon_sgd is not None):
            raise ValueError(
                f"recipe.muon_sgd: goes with recipe.optimizer=muon_sgd, not with {self.optimizer}; "
                "type recipe.muon_sgd=null, or recipe=speedrun"
                if self.muon_sgd
                else "recipe.optimizer: muon_sgd needs the learning rates of recipe.muon_sgd; type recipe=speedrun"
            )
        return self

    @model_validator(mode="after")
    def _clock(self) -> Self:
        if self.clock == "rows" and self.schedule_by == "epoch":
            raise ValueError(
                "recipe.clock: rows are counted within epochs; type recipe.schedule_by=step, or recipe.clock=epochs"
            )
        return self
