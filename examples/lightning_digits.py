"""Digits with Lightning: `pip install lightning`.

python examples/lightning_digits.py
"""

import logging
import time
import warnings
from typing import Any

import lightning.pytorch as pl
import torch
from plain_loop import BATCH, accuracy, digits, network
from torch.nn.functional import cross_entropy

from ast_experiments import Selection, select
from ast_experiments.integrations.lightning import SelectionCallback, selection_loader


class Digits(pl.LightningModule):
    """The network of plain_loop.py; its loss goes through the selection."""

    def __init__(self, selection: Selection, train_set: Any, seed: int) -> None:
        super().__init__()
        self.selection, self.train_set, self.net = selection, train_set, network(seed)

    def train_dataloader(self) -> Any:
        """Returns the loader of an epoch."""
        return selection_loader(self.selection, self.train_set)

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        """Returns the loss of a batch."""
        ids, (inputs, targets) = batch
        return self.selection.loss(ids, cross_entropy(self.net(inputs), targets, reduction="none"))

    def configure_optimizers(self) -> Any:
        """Returns AdamW with a cosine over the steps that the selection makes."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=3e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.selection.steps)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def train(method: str, epochs: int, seed: int = 0, **settings: float) -> tuple[float, dict[str, float]]:
    """Trains with Lightning; returns the test accuracy in percent and the selection's metrics."""
    train_set, test_set = digits()
    selection = select(method, dataset_size=len(train_set), batch_size=BATCH, epochs=epochs, seed=seed, **settings)
    module = Digits(selection, train_set, seed)
    trainer = pl.Trainer(
        max_epochs=epochs, reload_dataloaders_every_n_epochs=1, callbacks=[SelectionCallback(selection)],
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module)
    return accuracy(module.net, test_set), selection.metrics()


def main() -> None:
    """Compares stale AST with dense training on as many rows."""
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for name, epochs, settings in (("ast", 30, {"rate": 0.4}), ("dense", 12, {})):
        begin = time.perf_counter()
        reached, metrics = train(name, epochs, **settings)
        rows, rate = metrics["rows/trained"], metrics["rows/trained"] / metrics["rows/offered"]
        seconds = time.perf_counter() - begin
        print(f"{name:6} {reached:.1f} % accuracy, rate {rate:.3f}, {rows:.0f} rows, {epochs} epochs, {seconds:.1f} s")


if __name__ == "__main__":
    main()
