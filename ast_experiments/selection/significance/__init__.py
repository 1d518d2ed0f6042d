"""Significance: how much a sample is worth training on now.

A significance is a function in a module of its name. It names what it takes of a batch: `losses` (n,), `logits`
(n, classes), `images` (n, c, h, w) and `labels`, in any order. It returns scores (n,). Its keyword-only arguments are
the settings. `loss_intensity` and `loss_entropy` are those of the public Adaptive Sparse Training code,
https://github.com/oluwafemidiakhoa/adaptive-sparse-training.

Labels are class indices, int64 (n,), or with `recipe.soft_labels` probabilities, float32 (n, classes). Images and
labels are always those of the row itself. With mixup and cutmix, losses and logits of a training pass are those of the
mixture that the row came first in; a scoring pass mixes nothing.

The controllers `pi` and `quantile` and the pick `proportional` limit scores to [1e-6, 1e2] and compare logarithms:
what lies beyond a limit counts as the limit, and from 0.01 to 0.1 is as far as from 0.1 to 1.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from inspect import Parameter, signature
from typing import Any, TypeAlias

from torch import Tensor

from ast_experiments.core.batch import Batch, Outputs
from ast_experiments.core.errors import ConfigError, UserError

Significance: TypeAlias = Callable[..., Tensor]
INPUTS = ("losses", "logits", "images", "labels")
"""What a significance may take."""


def score_batch(significance: Significance, batch: Batch, outputs: Outputs) -> Tensor:
    """Returns the scores (n,) of a batch, given the outputs of a pass over it.

    Raises:
        ConfigError: If the significance takes anything but `INPUTS`.
        UserError: If it does not return one score a row.
    """
    given = {"losses": outputs.losses, "logits": outputs.logits, "images": batch.images, "labels": batch.labels}
    scores = significance(*(given[name] for name in inputs_of(significance)))
    if scores.shape != outputs.losses.shape:
        raise UserError(
            f"{_named(significance)}: returned the shape {tuple(scores.shape)}; "
            f"expected one score a row, {tuple(outputs.losses.shape)}"
        )
    return scores


def inputs_of(significance: Significance) -> tuple[str, ...]:
    """Returns which of `INPUTS` a significance takes, in the order of its arguments.

    Raises:
        ConfigError: If it takes another one, or takes one as a setting.
    """
    return _inputs(getattr(significance, "func", significance))


@cache
def _inputs(function: Callable[..., Any]) -> tuple[str, ...]:
    where, known = _named(function), ", ".join(INPUTS)
    taken = []
    for name, parameter in signature(function).parameters.items():
        if parameter.kind in (Parameter.KEYWORD_ONLY, Parameter.VAR_KEYWORD):
            if name in INPUTS:
                raise ConfigError(f"{where}: {name} stands where settings stand; write it before the *")
        elif name in INPUTS:
            taken.append(name)
        else:
            raise ConfigError(
                f"{where}: a significance is not given {str(parameter).partition(':')[0].partition('=')[0]}; "
                f"name what it takes of {known}, and write settings after a *, e.g. *, power: float = 1.0"
            )
    if not taken:
        raise ConfigError(f"{where}: takes nothing to score by; name what it takes of {known}")
    return tuple(taken)


def _named(significance: Significance) -> str:
    function = getattr(significance, "func", significance)
    return f"{function.__module__}.{getattr(function, '__qualname__', type(function).__name__)}"
