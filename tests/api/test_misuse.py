"""What people do wrong in a loop of their own is one clear line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from ast_experiments import Selection, select
from ast_experiments.core.errors import UserError

ROWS = 200
GOOD: dict[str, Any] = {"dataset_size": ROWS, "batch_size": 16, "epochs": 4}
CONSTANT = {**GOOD, "rate_schedule": "constant"}


class Stream(IterableDataset[int]):
    def __iter__(self) -> Any:
        return iter(range(ROWS))


def each_batch(selection: Selection, change: Callable[[Selection, list[int]], Any]) -> None:
    for _ in selection.epochs():
        for batch in selection.batches:
            change(selection, batch)


def some_batches(selection: Selection, steps: int | None = None, value: float = 1.0) -> None:
    for _ in selection.epochs():
        for index, batch in enumerate(selection.batches):
            if index == steps:
                break
            selection.loss(torch.tensor(batch), torch.full((len(batch),), value))


def mean(selection: Selection, batch: list[int]) -> None:
    selection.loss(torch.tensor(batch), torch.tensor(1.0))


def pixels(selection: Selection, batch: list[int]) -> None:
    selection.loss(torch.tensor(batch), torch.ones(len(batch), 5))


def few(selection: Selection, batch: list[int]) -> None:
    selection.loss(torch.tensor(batch), torch.ones(3))


def reordered(selection: Selection, batch: list[int]) -> None:
    selection.loss(torch.tensor(batch[::-1]), torch.ones(len(batch)))


def twice(selection: Selection, batch: list[int]) -> None:
    for _ in range(2):
        selection.loss(torch.tensor(batch), torch.ones(len(batch)))


def grown(selection: Selection) -> None:
    data = [*range(ROWS)]
    selection.wrap(data)
    data.append(1)
    some_batches(selection)


def left(selection: Selection) -> None:
    for _ in selection.epochs():
        break
    some_batches(selection)


MISUSES: dict[str, tuple[Callable[[], Any], str]] = {
    "a mean loss": (
        lambda: each_batch(select("ast", **GOOD), mean),
        "the losses are one number; expected one loss a sample, shape (16,): use reduction='none'",
    ),
    "a loss per pixel": (
        lambda: each_batch(select("ast", **GOOD), pixels),
        "the losses are the shape (16, 5); expected one loss a sample, shape (16,): use losses.flatten(1).mean(1)",
    ),
    "too few losses": (
        lambda: each_batch(select("ast", **GOOD), few),
        "there are 16 ids and 3 losses; expected one loss for each id",
    ),
    "losses of another order": (
        lambda: each_batch(select("ast", **GOOD), reordered),
        "these are not the samples of batch 1 of epoch 0; call selection.loss with the ids that the loader gave",
    ),
    "losses of the batch before": (
        lambda: each_batch(select("ast", **GOOD), twice),
        "these are not the samples of batch 2 of epoch 0; call selection.loss with the ids that the loader gave",
    ),
    "an iterable dataset": (
        lambda: select("ast", **GOOD).wrap(Stream()),
        "Stream cannot be indexed, so no sample of it can be skipped; pass a dataset with __len__ and __getitem__",
    ),
    "shuffle=True": (
        lambda: DataLoader((s := select("ast", **GOOD)).wrap(range(ROWS)), batch_sampler=s.batches, shuffle=True),
        "batch_sampler option is mutually exclusive with",
    ),
    "an epoch cut short": (
        lambda: some_batches(select("ast", **CONSTANT), steps=2),
        "epoch 0 ended after 2 of 5 batches; iterate over the loader to its end",
    ),
    "an epoch left": (
        lambda: left(select("ast", **CONSTANT)),
        "epoch 0 was left after 0 of 5 batches, and its losses are not committed; iterate over the loader to its end",
    ),
    "no loop over epochs": (
        lambda: [*select("ast", **GOOD).batches],
        "there is no epoch to train: write `for epoch in selection.epochs():` around the loop",
    ),
    "NaN losses": (
        lambda: some_batches(select("ast", **CONSTANT), value=float("nan")),
        "80 losses of epoch 0 are NaN or infinite, the first in batch 1; lower the learning rate",
    ),
    "another dataset": (
        lambda: select("ast", **GOOD).wrap(TensorDataset(torch.ones(3))),
        "the dataset has 3 samples, but the selection was made for 200; type select(..., dataset_size=3)",
    ),
    "a dataset that grows": (
        lambda: grown(select("ast", **GOOD)),
        "the dataset has 201 samples, but the selection was made for 200",
    ),
    "a misspelt setting": (
        lambda: select("ast", **GOOD, rat=0.3),
        "rat: no such setting of ast; nearest: rate; there are: exploration, final_epochs, noise_robust, pick, rate",
    ),
    "a rate out of range": (
        lambda: select("ast", **GOOD, rate=1.5),
        "rate: 1.5 is wrong; must be at most 1",
    ),
    "a method that needs the network": (
        lambda: select("rho_loss", **GOOD),
        "rho_loss scores every loaded batch with the network, and only the loop of ast-train does that",
    ),
    "a method that learns from predictions": (
        lambda: select("kakurenbo", **GOOD),
        "kakurenbo learns from predictions, and this loop hands it losses only",
    ),
    "no losses of other samples": (
        lambda: some_batches(select("curriculum", **GOOD)),
        "curriculum needs the losses of samples that were not trained; type selection.epochs(score=f)",
    ),
    "a significance without logits": (
        lambda: some_batches(select("ast", **GOOD, significance="loss_entropy")),
        "ast with this significance needs more than losses; type selection.loss(ids, losses, logits=logits)",
    ),
    "a significance without targets": (
        lambda: some_batches(select("ast", **GOOD, significance="margin")),
        "ast with this significance needs more than losses; "
        "type selection.loss(ids, losses, logits=logits, targets=targets)",
    ),
    "the state of another selection": (
        lambda: select("ast", **GOOD).load_state_dict(select("rs2", **GOOD).state_dict()),
        "the state is that of another selection",
    ),
    "no whole number": (
        lambda: select("ast", dataset_size=10, batch_size=0, epochs=1),
        "batch_size: 0 is wrong; expected a whole number of at least 1",
    ),
    "a batch that no epoch fills": (
        lambda: some_batches(select("ast", dataset_size=20, batch_size=16, epochs=2, rate=0.4)),
        "epoch 0 trains 0 rows, which fill no batch of 16; type batch_size=",
    ),
    "contradicting settings": (lambda: select("ast", **GOOD, reweight=True), "reweight: needs the chance of every row"),
}


@pytest.mark.parametrize("name", MISUSES)
def test_misuse_is_one_clear_line(name: str) -> None:
    wrong, message = MISUSES[name]
    with pytest.raises((UserError, ValueError)) as caught:
        wrong()
    assert str(caught.value).startswith(message)
    assert len(str(caught.value).splitlines()) == 1
    assert "method." not in str(caught.value)
