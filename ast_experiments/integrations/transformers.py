"""Selection in Hugging Face's Trainer. Needs the extra `transformers`.

    selection = select("ast", dataset_size=len(train_set), batch_size=32, epochs=3, rate=0.4)
    trainer = SelectionTrainer(model=model, args=args, train_dataset=train_set, selection=selection)
    trainer.train()

The batch size, the number of epochs and the steps of the learning-rate schedule are those of the selection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback

from ast_experiments.api.losses import Score
from ast_experiments.api.selection import Selection
from ast_experiments.core.errors import UserError

IDS = "selection_ids"
IGNORED = -100


def losses_of(outputs: Any, labels: Tensor) -> Tensor:
    """Returns a loss a sample (n,): cross-entropy of classes, or the mean over the tokens of a language model.

    Args:
        outputs: With `logits`: (n, classes), or (n, tokens, words) of a causal language model.
        labels: Class indices (n,), or tokens (n, tokens) with -100 where no loss is taken.
    """
    logits = outputs["logits"]
    if logits.dim() == 2:
        return cross_entropy(logits, labels.view(-1), reduction="none")
    logits, labels = logits[:, :-1].transpose(1, 2), labels[:, 1:]
    losses = cross_entropy(logits, labels, reduction="none", ignore_index=IGNORED)
    counted = (labels != IGNORED).sum(dim=1).clamp(min=1)
    return losses.sum(dim=1) / counted


class SelectionTrainer(Trainer):
    """A Trainer that trains on the samples that a selection chooses.

    Args:
        selection: Of `train_dataset`.
        losses: From the model's outputs and the labels to a loss a sample (n,).
        score: Losses of samples that were not trained, for methods that ask for them.
        arguments: Those of `transformers.Trainer`, by name.
    """

    def __init__(
        self,
        *,
        selection: Selection,
        losses: Callable[[Any, Tensor], Tensor] = losses_of,
        score: Score | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        if self.args.gradient_accumulation_steps != 1:
            raise UserError("a step is one planned batch; type TrainingArguments(gradient_accumulation_steps=1)")
        self.selection, self._losses = selection, losses
        self.add_callback(_Epochs(selection, score))

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Returns a loader of the planned batches, with their ids."""
        collate = self._get_collator_with_removed_columns(self.data_collator, description="training")

        def with_ids(rows: Sequence[tuple[int, Any]]) -> dict[str, Any]:
            return {**collate([row for _, row in rows]), IDS: torch.tensor([index for index, _ in rows])}

        return DataLoader(
            self.selection.wrap(self.train_dataset),
            batch_sampler=self.selection.batches,
            collate_fn=with_ids,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def set_initial_training_values(self, args: Any, dataloader: DataLoader[Any]) -> Any:
        """Takes epochs and steps from the selection."""
        _, per_epoch, examples, _, rows, in_epoch, steps = super().set_initial_training_values(args, dataloader)
        epochs = self.selection.total_epochs
        steps = self.selection.steps if self.selection.steps_known else epochs * per_epoch
        return epochs, per_epoch, examples, steps * rows, rows, in_epoch, steps

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Returns the selection's loss while training, and the model's own while evaluating."""
        ids = inputs.pop(IDS, None)
        if ids is None:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        outputs = model(**inputs)
        loss = self.selection.loss(ids.cpu(), self._losses(outputs, inputs["labels"]))
        return (loss, outputs) if return_outputs else loss


class _Epochs(TrainerCallback):
    def __init__(self, selection: Selection, score: Score | None) -> None:
        self._selection, self._score = selection, score

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        self._selection.begin_epoch()

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        self._selection.end_epoch(self._score)
