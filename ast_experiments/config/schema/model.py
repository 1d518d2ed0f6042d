"""Networks: the settings of each are the arguments of the function that builds it."""

from __future__ import annotations

from typing import Any

from pydantic.dataclasses import dataclass

from ast_experiments.config.schema.choices import Choices, arguments
from ast_experiments.config.schema.fields import STRICT
from ast_experiments.models.find import builder

GIVEN = ("classes", "channels", "size")
"""Arguments of a builder that describe the data."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ModelConfig:
    """Settings that every network has."""

    name: str


def _settings(name: str) -> tuple[type, dict[str, Any]]:
    return ModelConfig, {key: kind for key, kind in arguments(builder(name)).items() if key not in GIVEN}


MODELS = Choices("model", _settings)
