"""Settings of `hardware`: device, precision, processes and memory."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from annotated_types import Ge, Le
from pydantic import model_validator
from pydantic.dataclasses import dataclass

from ast_experiments.config.schema.fields import STRICT
from ast_experiments.core.ranges import Positive

MOST_PROCESSES = 1024


@dataclass(config=STRICT, frozen=True, kw_only=True)
class HardwareConfig:
    """Device, precision, processes and memory."""

    name: str
    device: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["auto", "float32", "bfloat16", "float16"]
    channels_last: bool
    compile: bool
    deterministic: bool
    data_on_device: bool | None
    workers: Annotated[int, Ge(0), Le(256)] | None
    threads: Annotated[int, Ge(1), Le(1024)] | None
    processes: int | str | None
    batch_scale: Positive
    auto_batch: bool
    max_hours: Positive | None

    @model_validator(mode="after")
    def _number(self) -> Self:
        number = isinstance(self.processes, int) and not isinstance(self.processes, bool)
        if self.processes not in ("all", None) and not (number and 0 < int(self.processes) <= MOST_PROCESSES):
            raise ValueError(
                f"hardware.processes: {self.processes!r} is wrong; type a number up to {MOST_PROCESSES}, "
                "all (one for each GPU) or null"
            )
        return self
