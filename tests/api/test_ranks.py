"""Two ranks train what one process trains, batch by batch, with the same loss."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from rank_tools import on_ranks

from ast_experiments import Selection, select

GOOD: dict[str, Any] = {"dataset_size": 201, "batch_size": 16, "epochs": 4}
LOSSES = torch.linspace(0.1, 3.0, 201)[torch.randperm(201, generator=torch.Generator().manual_seed(1))]


def loop(selection: Selection) -> tuple[list[list[list[int]]], list[list[float]]]:
    """Ids and losses of every batch, by epoch; a loss of the first sample stands for a batch without rows."""
    ids, losses = [], []
    for epoch in selection.epochs():
        ids.append([*selection.batches])
        found = [selection.loss(torch.tensor(batch), LOSSES[batch] / (epoch + 1)) for batch in ids[-1]]
        losses.append([float(loss) for loss in found])
    return ids, losses


@pytest.mark.parametrize("method", ["ast", "rs2", "infobatch", "dense"])
def test_ranks_share_the_plan_of_one_process(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    whole, expected = loop(select(method, **GOOD))
    with monkeypatch.context() as patch:
        parts = on_ranks(patch, 2, lambda rank: loop(select(method, **GOOD)))
    for epoch, batches in enumerate(whole):
        for index, batch in enumerate(batches):
            shares = [ids[epoch][index] for ids, _ in parts]
            joined = [i for share in shares for i in share]
            assert joined == batch or (len(batch) == 1 and batch[0] in joined)
            mean = sum(losses[epoch][index] for _, losses in parts) / 2
            assert mean == pytest.approx(expected[epoch][index], rel=1e-5)
