"""What a method learns from losses alone, and errors where that is too little."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ast_experiments.core.batch import Batch, Outputs
from ast_experiments.core.errors import UserError
from ast_experiments.selection.selector import Selector
from ast_experiments.selection.significance import INPUTS, inputs_of

Score = Callable[[Tensor], Tensor]
"""`score(ids) -> losses`: the losses (n,) of samples `ids` (n,), without training on them."""

WORDS = {"logits": "logits", "images": "inputs", "labels": "targets"}
"""Names of the arguments of `selection.loss`, by what a significance takes."""


def observe(selector: Selector, name: str, batch: Batch, outputs: Outputs) -> None:
    """Records the scores of a trained batch.

    Raises:
        UserError: If the significance takes logits, images or labels that were not given.
    """
    try:
        selector.observe(batch, outputs)
    except (AttributeError, TypeError) as error:
        given = {"logits": outputs.logits, "images": batch.images, "labels": batch.labels}
        missing = [f"{WORDS[key]}={WORDS[key]}" for key in _taken(selector) if key in given and given[key] is None]
        if not missing:
            raise
        raise UserError(
            f"{name} with this significance needs more than losses; "
            f"type selection.loss(ids, losses, {', '.join(missing)})"
        ) from error


def _taken(selector: Selector) -> tuple[str, ...]:
    """Returns what of a batch the scores may use: what the significance takes, or anything."""
    significance = getattr(selector.method, "_significance", None)
    return INPUTS if significance is None else inputs_of(significance)


def scored(name: str, batch: Batch, score: Score | None) -> Outputs:
    """Returns the losses of samples that were not trained, from the user's own function.

    Raises:
        UserError: If there is no such function, or it returns another shape.
    """
    if score is None:
        raise UserError(
            f"{name} needs the losses of samples that were not trained; "
            "type selection.epochs(score=f), where f(ids) returns the losses of these samples"
        )
    with torch.no_grad():
        losses = score(batch.ids)
    if losses.shape != batch.ids.shape:
        raise UserError(f"score(ids) returned the shape {tuple(losses.shape)}; expected {tuple(batch.ids.shape)}")
    return Outputs(None, losses.detach().float())  # pyright: ignore[reportArgumentType]


def only_ids(ids: Tensor, epoch: int) -> Batch:
    """Returns a batch of samples that the user's own function looks up."""
    del epoch
    return Batch(ids, None, None)  # pyright: ignore[reportArgumentType]


def no_auxiliary_model(*_: Any, **__: Any) -> Any:
    """Refuses methods that train a second network.

    Raises:
        UserError: Always.
    """
    raise UserError("an auxiliary model needs ast-train, which knows the family of the network")
