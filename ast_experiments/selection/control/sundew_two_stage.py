"""The published law of the two-stage ImageNet-100 run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ast_experiments.core.ranges import NonNegative, Positive, Smoothing
from ast_experiments.selection.control.gates import Fallback
from ast_experiments.selection.control.sundew_comparison import SundewComparison


@dataclass(frozen=True, kw_only=True)
class SundewTwoStage(SundewComparison):
    """The law of `SundewComparison` with other constants; falls back to the top tenth of a batch, at least 2 rows."""

    kp: NonNegative = 0.005
    ki: NonNegative = 0.0001
    alpha: Smoothing = 0.1
    start: float = 3.0
    integral_limit: Positive = 100.0
    low: float = 0.5
    high: float = 10.0

    fallback: ClassVar[Fallback] = Fallback(by="top", rows=2, share=0.1, below=None)
