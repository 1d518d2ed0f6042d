"""Masked and gathered training take the same gradient."""

import dataclasses
from functools import partial

import numpy as np
import pytest
import torch
from selection_tools import batch_of, on_fresh, prepared
from torch.nn.functional import cross_entropy

from ast_experiments.core.batch import Outputs
from ast_experiments.models.simple_cnn import SimpleCNN
from ast_experiments.selection.control.sundew_comparison import SundewComparison
from ast_experiments.selection.control.sundew_report import SundewReport
from ast_experiments.selection.control.sundew_two_stage import SundewTwoStage
from ast_experiments.selection.control.topk import TopK
from ast_experiments.selection.significance.loss_entropy import loss_entropy
from ast_experiments.selection.significance.loss_intensity import loss_intensity


def gradients(model, selector, batch):
    """Gradients of one step, with the loss as the training step defines it, and the rows that were active."""

    def forward(rows):
        logits = model(rows.images)
        losses = cross_entropy(logits, rows.labels, reduction="none")
        return losses, Outputs(logits.detach(), losses.detach())

    def score(rows, mode="eval", size=None):
        with torch.no_grad():
            return forward(rows)[1]

    selector.plan(0, 0.3)
    (selected,) = selector.select(batch, score)
    losses, outputs = forward(selected)
    weights = selector.weigh(selected, outputs)
    model.zero_grad()
    (losses.mean() if weights is None else (weights * losses).mean()).backward()
    active = len(selected) if weights is None or len(selected) < len(batch) else int((weights > 0).sum())
    return [p.grad.clone() for p in model.parameters()], active


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("controller", "score"),
    [
        (SundewComparison(start=0.98), partial(loss_intensity, variant="comparison")),
        (SundewComparison(start=0.98, high=9.0), lambda losses: losses / 100),  # two random rows
        (SundewTwoStage(start=9.0, high=10.0), loss_entropy),  # the top tenth
        (SundewReport(start=0.4), loss_intensity),
        (TopK(), loss_entropy),
    ],
)
def test_masked_equals_gathered(controller, score, weighted):
    torch.manual_seed(0)
    model = SimpleCNN(size=16, dropout=0.0).double()
    batch = dataclasses.replace(
        batch_of(range(40)),
        images=torch.randn(40, 3, 16, 16, dtype=torch.float64) * (torch.rand(40, 1, 1, 1) + 0.2),
        labels=torch.randint(0, 10, (40,)),
        weights=torch.rand(40, dtype=torch.float64) + 0.5 if weighted else None,
    )
    results = [
        gradients(
            model,
            prepared(on_fresh(execution, controller, score, packing=False), samples=40, batch_size=40),
            batch,
        )
        for execution in ("gather", "masked")
    ]
    (gathered, active), (masked, also_active) = results
    assert 0 < active == also_active < 40
    assert any(g.abs().max() > 0 for g in gathered)
    for a, b in zip(gathered, masked, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-9, rtol=1e-7)
