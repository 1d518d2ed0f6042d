"""Data sets: the settings of each are those of its transforms and the arguments of its loader."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Le
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from ast_experiments.config.schema.choices import Choices, arguments
from ast_experiments.config.schema.fields import STRICT, Deviations, Means
from ast_experiments.core.ranges import Count, DropRate, NonNegative, Positive, Rate, Seed, Share
from ast_experiments.data.find import is_encoded, loader


@dataclass(config=STRICT, frozen=True, kw_only=True)
class AnyDatasetConfig:
    """Settings that every data set has."""

    name: str
    train_rows: Count | None
    val_rows: Count | None
    horizontal_flip: bool | Literal["alternating"]
    # Values for the configs of runs that began before there were regimes.
    label_noise: DropRate = 0.0
    label_noise_kind: Literal["symmetric", "pairs"] = "symmetric"
    duplicates: DropRate = 0.0
    imbalance: Annotated[float, Ge(1)] = 1.0
    corruption: Share = 0.0
    regime_seed: Seed = 0

    @model_validator(mode="after")
    def _channels(self) -> Self:
        mean, std = getattr(self, "mean", None), getattr(self, "std", None)
        if mean is not None and std is not None and len(mean) != len(std):
            raise ValueError(f"dataset.std: has {len(std)} values, but dataset.mean has {len(mean)}")
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class InMemoryConfig(AnyDatasetConfig):
    """Settings of small images that are kept in memory."""

    mean: Means
    std: Deviations
    crop_padding: Annotated[int, Ge(0), Le(64)]
    padding_mode: Literal["constant", "reflect"]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class EncodedConfig(AnyDatasetConfig):
    """Settings of encoded images of any size; the model decides those of its input that are None."""

    root: str
    cache: str
    size: Annotated[int, Ge(8), Le(4096)] | None
    mean: Means | None
    std: Deviations | None
    crop_scale: Annotated[list[Rate], Field(min_length=2, max_length=2)]
    crop_ratio: Annotated[list[Positive], Field(min_length=2, max_length=2)]
    crop_share: Rate | None
    interpolation: Literal["bilinear", "bicubic"] | None
    stored_size: Annotated[int, Ge(8), Le(4096)] | None
    brightness: NonNegative
    contrast: NonNegative
    saturation: NonNegative
    hue: Annotated[float, Ge(0), Le(0.5)]
    grey: Share
    erasing: Share

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        for key in ("crop_scale", "crop_ratio"):
            low, high = getattr(self, key)
            if low > high:
                raise ValueError(f"dataset.{key}: [{low}, {high}] must rise; type dataset.{key}=[{high},{low}]")
        return self


def _settings(name: str) -> tuple[type, dict[str, Any]]:
    return (EncodedConfig if is_encoded(name) else InMemoryConfig), arguments(loader(name))


DATASETS = Choices("dataset", _settings)
