"""Networks."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Lt
from pydantic import Field
from pydantic.dataclasses import dataclass

from ast_experiments.config.schema.fields import STRICT, Choice
from ast_experiments.core.ranges import Count, Positive
from ast_experiments.models.choices import MODELS as BUILDERS


@dataclass(config=STRICT, frozen=True, kw_only=True)
class SimpleCNNConfig:
    """The small network of the CIFAR-10 report."""

    name: str
    widths: Annotated[list[Count], Field(min_length=3, max_length=3)]
    hidden: Count
    dropout: Annotated[float, Ge(0), Lt(1)]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class AirNetConfig:
    """A small network that learns fast."""

    name: str
    width: Positive


@dataclass(config=STRICT, frozen=True, kw_only=True)
class CifarResNetConfig:
    """A timm ResNet with a stem for 32 px."""

    name: str
    arch: str
    drop_path: Annotated[float, Ge(0), Lt(1)]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class TimmConfig:
    """Any timm architecture."""

    name: str
    arch: str
    pretrained: bool
    checkpoint: str | None
    drop_rate: Annotated[float, Ge(0), Lt(1)]
    drop_path: Annotated[float, Ge(0), Lt(1)]


MODELS: dict[str, Choice] = {
    "simple_cnn": Choice(SimpleCNNConfig, BUILDERS["simple_cnn"]),
    "airnet": Choice(AirNetConfig, BUILDERS["airnet"]),
    "resnet18_cifar": Choice(CifarResNetConfig, BUILDERS["resnet18_cifar"]),
    "resnet34_cifar": Choice(CifarResNetConfig, BUILDERS["resnet34_cifar"]),
    "resnet50_cifar": Choice(CifarResNetConfig, BUILDERS["resnet50_cifar"]),
    "timm": Choice(TimmConfig, BUILDERS["timm"]),
}
