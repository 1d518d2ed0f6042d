"""Selection in Hugging Face's Trainer. Needs the extra `transformers`.

    SelectionTrainer(model=model, args=args, train_dataset=train_set, selection=select("ast", ...)).train()

Batch size, epochs and the steps of the learning-rate schedule are those of the selection. It does not resume.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback

from ast_experiments.api.losses import Score
from ast_experiments.api.selection import Selection
from ast_experiments.core.errors import UserError

IDS, IGNORED = "selection_ids", -100
Losses = Callable[[Any, Tensor], Tensor]


def losses_of(outputs: Any, labels: Tensor) -> Tensor:
    """Returns a loss a sample (n,): cross-entropy of classes, or the mean over the tokens of a language model.

    Logits are (n, classes) with labels (n,), or (n, tokens, words) with tokens (n, tokens), -100 for no loss.
    """
    logits = outputs["logits"]
    if logits.dim() == 2:
        return cross_entropy(logits, labels.view(-1), reduction="none")
    logits, labels = logits[:, :-1].transpose(1, 2), labels[:, 1:]
    losses = cross_entropy(logits, labels, reduction="none", ignore_index=IGNORED).sum(dim=1)
    return losses / (labels != IGNORED).sum(dim=1).clamp(min=1)


class SelectionTrainer(Trainer):
    """A Trainer of the samples that a selection chooses.

    Args:
        selection: Of `train_dataset`.
        losses: From the model's outputs and the labels to a loss a sample (n,).
        score: As for `selection.epochs`.
        arguments: Of `transformers.Trainer`.
    """

    def __init__(
        self, *, selection: Selection, losses: Losses = losses_of, score: Score | None = None, **arguments: Any
    ) -> None:
        super().__init__(**arguments)
        if self.args.gradient_accumulation_steps != 1:
            raise UserError("a step is one planned batch; type TrainingArguments(gradient_accumulation_steps=1)")
        self.selection, self._losses = selection, losses
        self.add_callback(_Epochs(selection, score))

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Returns a loader of the planned batches, with their ids."""
        collate = self._get_collator_with_removed_columns(self.data_collator, description="training")

        def with_ids(rows: list[tuple[int, Any]]) -> dict[str, Any]:
            return {**collate([row for _, row in rows]), IDS: [index for index, _ in rows]}  # stay on the CPU

        a, data, batches = self.args, self.selection.wrap(self.train_dataset), self.selection.batches
        settings = {"num_workers": a.dataloader_num_workers, "pin_memory": a.dataloader_pin_memory}
        return DataLoader(data, batch_sampler=batches, collate_fn=with_ids, **settings)

    def set_initial_training_values(self, args: Any, dataloader: DataLoader[Any]) -> Any:
        """Takes epochs and steps from the selection."""
        _, per_epoch, examples, _, rows, in_epoch, steps = super().set_initial_training_values(args, dataloader)
        plan, epochs = self.selection, self.selection.total_epochs
        steps = plan.steps if plan.steps_known else epochs * per_epoch
        return epochs, per_epoch, examples, steps * rows, rows, in_epoch, steps

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Returns the selection's loss while training, and the model's own while evaluating."""
        if (ids := inputs.pop(IDS, None)) is None:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        outputs = model(**inputs)
        loss = self.selection.loss(torch.as_tensor(ids), self._losses(outputs, inputs["labels"]))
        return (loss, outputs) if return_outputs else loss


class _Epochs(TrainerCallback):
    def __init__(self, selection: Selection, score: Score | None) -> None:
        self._selection, self._score = selection, score

    def on_train_begin(self, args: Any, state: Any, *_: Any, **__: Any) -> None:
        if state.global_step:
            raise UserError("checkpoints of this Trainer lack the selection; type trainer.train() without resuming")

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        self._selection.begin_epoch()

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        self._selection.end_epoch(self._score)
