"""Selection in Lightning: a callback, and a loader for your module or data module. Needs the extra `lightning`.

selection = select("ast", dataset_size=len(train_set), batch_size=32, epochs=30, rate=0.4)

class Module(LightningModule):
    def train_dataloader(self):
        return selection_loader(selection, train_set, num_workers=4)

    def training_step(self, batch, index):
        ids, (inputs, targets) = batch
        return selection.loss(ids, cross_entropy(self.net(inputs), targets, reduction="none"))

callbacks = [SelectionCallback(selection)]
Trainer(max_epochs=30, reload_dataloaders_every_n_epochs=1, use_distributed_sampler=False, callbacks=callbacks)
"""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader

from ast_experiments.api.losses import Score
from ast_experiments.api.selection import Selection
from ast_experiments.core.errors import UserError


def selection_loader(selection: Selection, dataset: Any, **settings: Any) -> DataLoader[Any]:
    """Returns the DataLoader of the next epoch; call it in `train_dataloader`, which Lightning asks every epoch.

    Args:
        selection: Plans the epoch.
        dataset: Map-style, with as many samples as the selection was made for.
        settings: Further arguments of the DataLoader, e.g. `num_workers`.
    """
    if not selection.planned:
        selection.begin_epoch()
    return DataLoader(selection.wrap(dataset), batch_sampler=selection.batches, **settings)


class SelectionCallback(Callback):
    """Commits the losses of each epoch, logs the selection's metrics, and keeps its state in checkpoints.

    Args:
        selection: As given to `selection_loader`.
        score: Losses of samples that were not trained, for methods that ask for them.
        log: Whether to log the metrics at the end of each epoch.
    """

    def __init__(self, selection: Selection, *, score: Score | None = None, log: bool = True) -> None:
        self._selection, self._score, self._log = selection, score, log

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuses settings of the trainer with which batches would be lost or repeated.

        Raises:
            UserError: About the first of them.
        """
        del pl_module
        if vars(trainer)["reload_dataloaders_every_n_epochs"] != 1:
            raise UserError(
                "the number of batches differs from epoch to epoch; type Trainer(reload_dataloaders_every_n_epochs=1)"
            )
        if trainer.accumulate_grad_batches != 1 and trainer.world_size > 1:
            raise UserError("ranks step together; type Trainer(accumulate_grad_batches=1)")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Commits the epoch and logs the metrics."""
        self._selection.end_epoch(self._score)
        if self._log:
            metrics = {key: value for key, value in self._selection.metrics().items() if key not in ("epoch", "step")}
            pl_module.log_dict(metrics)

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of the selection, for Lightning's checkpoints."""
        return self._selection.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores it."""
        self._selection.load_state_dict(state_dict)
