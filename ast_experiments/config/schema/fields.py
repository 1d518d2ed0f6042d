"""What the schemas share: types with their ranges, and the row of a table of choices."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from pydantic import ConfigDict, Field

from ast_experiments.core.ranges import Positive

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
NESTED = ConfigDict(extra="forbid", allow_inf_nan=False)
"""Of a dataclass within another: strict, it would not take the dictionary that it is given."""

Means = Annotated[list[float], Field(min_length=1)]
Deviations = Annotated[list[Positive], Field(min_length=1)]


class Choice(NamedTuple):
    """A choice of a group.

    Attributes:
        schema: The dataclass of its settings.
        build: Where it is built, `module:function`; empty where the name of the choice says it.
    """

    schema: type
    build: str = ""
