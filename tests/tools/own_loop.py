"""A loop of one's own in a process of its own, that saves after every step and goes on from what it finds."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from ast_experiments import Selection, select

ROWS, CLASSES = 200, 4
PROCESSES = get_context("fork")  # without importing torch again


def data() -> TensorDataset:
    rng = torch.Generator().manual_seed(0)
    labels = torch.randint(CLASSES, (ROWS,), generator=rng)
    return TensorDataset(torch.randn(ROWS, 8, generator=rng) + torch.eye(8)[labels], labels)


def selection_of(method: str) -> Selection:
    return select(method, dataset_size=ROWS, batch_size=16, epochs=6)


def train(method: str, file: Path, step: Any = None, workers: int = 0) -> None:
    """Trains from where `file` is, to the end; `step.value` counts steps, those of runs before included."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    selection, model, trained = selection_of(method), nn.Linear(8, CLASSES), []
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    if file.exists():
        state = torch.load(file, weights_only=False)
        selection.load_state_dict(state["selection"])
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        trained = state["trained"]
    loader = DataLoader(
        selection.wrap(data()), batch_sampler=selection.batches, num_workers=workers, persistent_workers=workers > 0
    )
    for _ in selection.epochs():
        for ids, (inputs, targets) in loader:
            losses = cross_entropy(model(inputs), targets, reduction="none")
            optimizer.zero_grad()
            selection.loss(ids, losses).backward()
            optimizer.step()
            trained.append(ids.tolist())
            parts = {"selection": selection, "model": model, "optimizer": optimizer}
            state = {name: part.state_dict() for name, part in parts.items()}
            torch.save({**state, "trained": trained}, file.with_suffix(".new"))
            os.replace(file.with_suffix(".new"), file)
            if step is not None:
                step.value = len(trained)
                time.sleep(0.002)


def rank(own: int, size: int, folder: Path, work: Callable[[Selection], Any], methods: list[str]) -> None:
    """One of several ranks: saves what `work` returns for each method."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=own, world_size=size)
    torch.save({method: work(selection_of(method)) for method in methods}, folder / f"rank_{own}.pt")
    dist.destroy_process_group()


def shares(selection: Selection) -> dict[str, Any]:
    """Ids and losses of every batch, and the scores that the history ends with, on a rank that keeps it."""
    values = torch.linspace(0.1, 3.0, ROWS)[torch.randperm(ROWS, generator=torch.Generator().manual_seed(1))]
    ids, losses = [], []
    for epoch in selection.epochs():
        for batch in selection.batches:
            ids.append((epoch, batch))
            losses.append(float(selection.loss(torch.tensor(batch), values[batch] / (epoch + 1))))
    history = selection._selector.history
    columns = {"scores": history.scores, "visits": history.visits} if history.kept else {}
    return {"ids": ids, "losses": losses, **columns}
