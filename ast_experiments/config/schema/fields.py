"""What the schemas share: how strict they are, and types with their ranges."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from ast_experiments.core.ranges import Positive

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
NESTED = ConfigDict(extra="forbid", allow_inf_nan=False)
"""Of a dataclass within another: strict, it would not take the dictionary that it is given."""

Means = Annotated[list[float], Field(min_length=1)]
Deviations = Annotated[list[Positive], Field(min_length=1)]
