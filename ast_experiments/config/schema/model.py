"""Networks: the settings of each are the arguments of the function that builds it."""

from __future__ import annotations

from pydantic.dataclasses import dataclass

from ast_experiments.config.schema.derive import Derived
from ast_experiments.config.schema.fields import STRICT
from ast_experiments.models.find import builder, place


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ModelConfig:
    """Settings that every network has."""

    name: str


MODELS = Derived("model", place, builder, lambda name: ModelConfig, given=("classes", "channels", "size"))
