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
    """A row of the table of choices.

    Attributes:
        schema: Its dataclass.
        build: Where it is built, `module:function`, called with the settings by name.
        uses: Groups whose choice the builder gets too, built, by the name of the group.
        unmixable: Of a method, why it does not work with mixup, cutmix and soft labels; empty where it does.
    """

    schema: type
    build: str
    uses: tuple[str, ...] = ()
    unmixable: str = ""
