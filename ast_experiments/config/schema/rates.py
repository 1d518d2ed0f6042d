"""Settings that methods share: the target rate, its schedule and the budget."""

from __future__ import annotations

from typing import Annotated, Self

from annotated_types import Ge, Gt
from pydantic import Strict, model_validator
from pydantic.dataclasses import dataclass

from ast_experiments.config.schema.fields import NESTED, STRICT
from ast_experiments.core.ranges import Rate
from ast_experiments.selection.rate_schedule import ScheduleName


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Named:
    """A choice."""

    name: str


@dataclass(config=NESTED, frozen=True, kw_only=True)
class Budget:
    """What a run may spend; at most one of them."""

    samples: Annotated[int, Strict(), Ge(1)] | None
    flops: Annotated[float, Strict(), Gt(0)] | None
    seconds: Annotated[float, Strict(), Gt(0)] | None
    joules: Annotated[float, Strict(), Gt(0)] | None

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [kind for kind in ("samples", "flops", "seconds", "joules") if getattr(self, kind) is not None]
        if len(given) > 1:
            raise ValueError(f"method.budget: {' and '.join(given)} are given, but a run has one budget; leave one")
        return self


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Rated(Named):
    """A method with a target rate."""

    rate: Rate
    rate_schedule: ScheduleName | list[Rate]
    rate_final: Rate | None
    warmup_epochs: Annotated[int, Ge(0)]
    final_epochs: Annotated[int, Ge(0)]
    budget: Budget

    @model_validator(mode="after")
    def _final(self) -> Self:
        if (self.rate_schedule in ("linear", "cosine")) != (self.rate_final is not None):
            raise ValueError(
                "method.rate_final: goes with method.rate_schedule=linear or cosine and only with them; "
                "type e.g. method.rate_schedule=linear method.rate=0.6 method.rate_final=0.2"
            )
        return self
