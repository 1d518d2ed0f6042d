"""What a method learns from losses alone, and errors where that is too little."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ast_experiments.api.epoch import Epoch
from ast_experiments.core.batch import Batch, Outputs
from ast_experiments.core.errors import UserError
from ast_experiments.selection.selector import Selector
from ast_experiments.selection.significance import INPUTS, inputs_of

Score = Callable[[Tensor], Tensor]
"""`score(ids) -> losses`: the losses (n,) of samples `ids` (n,), without training on them."""

WORDS = {"logits": "logits", "images": "inputs", "labels": "targets"}
"""Names of the arguments of `selection.loss`, by what a significance takes."""
HELD = 64
"""Batches that are held before they are looked at together: between steps, Python runs with cold caches."""
FIRST = 3
"""Leading batches of a run that are looked at at once, so that a mistake is found where it was made."""


class Observer:
    """Hands the losses of trained batches to a selector, many batches at a time.

    Args:
        selector: Records them.
        name: Of the method, for errors.
    """

    def __init__(self, selector: Selector, name: str) -> None:
        self._selector, self._name = selector, name
        self._held: list[tuple[int, Tensor, Tensor]] = []
        self._epoch: Epoch | None = None
        self._seen = 0

    def hold(self, epoch: Epoch, ids: Tensor, losses: Tensor) -> None:
        """Keeps losses (n,) of the batch that was just trained, and looks at those that are held from time to time."""
        losses = losses.detach()
        # Elsewhere than on the CPU, a captured graph may write its next losses into the same memory.
        self._held.append((epoch.done - 1, ids, losses if losses.is_cpu else losses.clone()))
        self._epoch, self._seen = epoch, self._seen + 1
        if len(self._held) == HELD or self._seen <= FIRST or epoch.done == epoch.batches:
            self.look()

    def look(self) -> None:
        """Records all losses that are held.

        Raises:
            UserError: If they are not those of the planned samples.
        """
        held, self._held = self._held, []
        epoch = self._epoch
        if not held or epoch is None:
            return
        epoch.check(held[0][0], [ids for _, ids, _ in held])
        if self._selector.learns:
            for index, ids, losses in held:
                self._record(epoch.batch(index, ids, None, None), Outputs(None, losses.float()))  # pyright: ignore
        epoch.test(torch.cat([losses for *_, losses in held]))

    def record(
        self,
        epoch: Epoch,
        ids: Tensor,
        losses: Tensor,
        *,
        logits: Tensor | None = None,
        inputs: Tensor | None = None,
        targets: Tensor | None = None,
    ) -> None:
        """Records losses (n,) of the batch that was just trained, now.

        Raises:
            UserError: If they are not those of the planned samples, or the significance takes logits, inputs or targets
                that were not given.
        """
        self.look()
        losses, given = losses.detach(), None if logits is None else logits.detach()
        epoch.check(epoch.done - 1, [ids])
        batch = epoch.batch(epoch.done - 1, ids, inputs, targets)
        self._record(batch, Outputs(given, losses.float()))  # pyright: ignore[reportArgumentType]
        epoch.test(losses)

    def _record(self, batch: Batch | None, outputs: Outputs) -> None:
        if batch is None:
            return
        try:
            self._selector.observe(batch, outputs)
        except (AttributeError, TypeError) as error:
            given = {"logits": outputs.logits, "images": batch.images, "labels": batch.labels}
            taken = [key for key in _taken(self._selector) if key in given and given[key] is None]
            missing = [f"{WORDS[key]}={WORDS[key]}" for key in taken]
            if not missing:
                raise
            raise UserError(
                f"{self._name} with this significance needs more than losses; "
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
