"""Number types with their ranges, for the settings of methods, controllers and everything else that is configured."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

Share = Annotated[float, Ge(0), Le(1)]
Rate = Annotated[float, Gt(0), Le(1)]
DropRate = Annotated[float, Ge(0), Lt(1)]
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Smoothing = Annotated[float, Gt(0), Le(1)]
Count = Annotated[int, Ge(1), Le(10**9)]
Seed = Annotated[int, Ge(0), Le(2**63 - 1)]
