"""Significance: how much a sample is worth training on now.

A significance is a function (losses (n,), logits (n, classes), images (n, c, h, w)) -> scores (n,), in a module of its
name. Its keyword arguments are the settings. The forms here are those of the public Adaptive Sparse Training code,
https://github.com/oluwafemidiakhoa/adaptive-sparse-training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

Significance: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
