"""Lightning's Trainer trains what a plain loop trains, and resumes from its own checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from ast_experiments import Selection, select
from ast_experiments.core.errors import UserError

pytestmark = pytest.mark.slow  # importing Lightning takes ten seconds

ROWS = 160
GOOD: dict[str, Any] = {"dataset_size": ROWS, "batch_size": 16, "epochs": 5, "rate": 0.5}
RNG = torch.Generator().manual_seed(0)
DATA = TensorDataset(torch.randn(ROWS, 8, generator=RNG), torch.randint(3, (ROWS,), generator=RNG))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(8, 3)


def module_of(selection: Selection) -> Any:
    pl = pytest.importorskip("lightning.pytorch")
    from ast_experiments.integrations.lightning import selection_loader

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.trained = network(), []

        def train_dataloader(self) -> Any:
            return selection_loader(selection, DATA)

        def training_step(self, batch: Any, index: int) -> Any:
            ids, (inputs, targets) = batch
            self.trained.append(ids.tolist())
            return selection.loss(ids, cross_entropy(self.net(inputs), targets, reduction="none"))

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1, momentum=0.9)

    return Module()


def trainer_of(selection: Selection, folder: Path, epochs: int = 5, **settings: Any) -> Any:
    pl = pytest.importorskip("lightning.pytorch")
    from ast_experiments.integrations.lightning import SelectionCallback

    given = {"reload_dataloaders_every_n_epochs": 1, "callbacks": [SelectionCallback(selection)], **settings}
    return pl.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, **given,
    )  # fmt: skip


def plain(method: str) -> tuple[list[list[int]], nn.Module, dict[str, float]]:
    selection, model, trained = select(method, **GOOD), network(), []
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for _ in selection.epochs():
        for ids, (inputs, targets) in DataLoader(selection.wrap(DATA), batch_sampler=selection.batches):
            trained.append(ids.tolist())
            optimizer.zero_grad()
            selection.loss(ids, cross_entropy(model(inputs), targets, reduction="none")).backward()
            optimizer.step()
    return trained, model, selection.metrics()


@pytest.mark.parametrize("method", ["ast", "rs2"])
def test_a_trainer_trains_what_a_plain_loop_trains(tmp_path: Path, method: str) -> None:
    trained, model, metrics = plain(method)
    selection = select(method, **GOOD)
    module = module_of(selection)
    trainer = trainer_of(selection, tmp_path)
    trainer.fit(module)
    assert module.trained == trained
    assert torch.equal(module.net.weight, model.weight)
    assert selection.metrics() == metrics
    assert trainer.callback_metrics["rows/trained"] == metrics["rows/trained"]


def test_a_checkpoint_has_the_selection(tmp_path: Path) -> None:
    trained, model, _ = plain("ast")
    first = select("ast", **GOOD)
    begun = module_of(first)
    trainer = trainer_of(first, tmp_path, epochs=2)
    trainer.fit(begun)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    second = select("ast", **GOOD)
    rest = module_of(second)
    trainer_of(second, tmp_path).fit(rest, ckpt_path=tmp_path / "last.ckpt", weights_only=False)
    assert begun.trained + rest.trained == trained
    assert torch.equal(rest.net.weight, model.weight)


def test_one_loader_for_all_epochs_is_refused(tmp_path: Path) -> None:
    selection = select("ast", **GOOD)
    trainer = trainer_of(selection, tmp_path, reload_dataloaders_every_n_epochs=0)
    with pytest.raises(UserError, match=r"type Trainer\(reload_dataloaders_every_n_epochs=1\)"):
        trainer.fit(module_of(selection))
