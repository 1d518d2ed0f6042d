"""Settings of `energy`: meters and the nominal cost model."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from annotated_types import Ge, Gt, Le
from pydantic import model_validator
from pydantic.dataclasses import dataclass

from ast_experiments.config.schema.fields import STRICT
from ast_experiments.core.ranges import NonNegative, Positive


@dataclass(config=STRICT, frozen=True, kw_only=True)
class EnergyConfig:
    """Meters and the nominal cost model."""

    name: str
    gpu: Literal["auto", "nvml", "nvml_power", "none"]
    cpu: Literal["auto", "rapl", "none"]
    require: Literal["gpu", "cpu"] | None
    idle_seconds: Annotated[float, Ge(0), Le(600)]
    target_accuracy: Annotated[float, Gt(0), Le(100)] | None
    carbon_intensity: NonNegative | None
    carbon_source: str | None
    active_cost: Positive
    skipped_cost: NonNegative

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.require is not None and getattr(self, self.require) == "none":
            raise ValueError(
                f"energy.require: {self.require} cannot be measured with energy.{self.require}=none; "
                f"type energy.{self.require}=auto"
            )
        if (self.carbon_intensity is None) != (self.carbon_source is None):
            raise ValueError(
                "energy.carbon_source: goes with energy.carbon_intensity and only with it; "
                "type e.g. energy.carbon_intensity=380 'energy.carbon_source=\"grid operator, mean of last year\"'"
            )
        return self
