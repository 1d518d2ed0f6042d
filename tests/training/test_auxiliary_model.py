"""Auxiliary models: small gradients survive float16, and the loss is that of the recipe."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from ast_experiments.core.batch import Batch
from ast_experiments.energy.flops import Flops
from ast_experiments.energy.ledger import Ledger
from ast_experiments.training.auxiliary_model import AuxiliaryNetwork

CPU = torch.device("cpu")


class Faint(nn.Module):
    """Two logits whose gradients are too small for float16 unless they are scaled."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        half = images.flatten(1)[:, :1].half() * self.weight.half()
        return half.float() * 1e-9


def auxiliary_model(
    dtype: torch.dtype, lr: float = 1e9, smoothing: float = 0.0, model: nn.Module | None = None
) -> AuxiliaryNetwork:
    model = Faint() if model is None else model
    hardware: Any = SimpleNamespace(device=CPU, dtype=dtype, autocast=nullcontext)
    schedule: Any = SimpleNamespace(set=lambda progress: lr, label_smoothing=smoothing)
    return AuxiliaryNetwork(
        model,
        torch.optim.SGD(model.parameters(), lr=lr),
        schedule,
        hardware,
        Ledger(CPU),
        lambda size: Flops(1, 2),
        None,
    )


def batch(rows: int = 4, value: float = 1.0) -> Batch:
    ids = torch.arange(rows)
    return Batch(ids, torch.full((rows, 1, 1, 1), value), torch.zeros(rows, dtype=torch.int64))


@pytest.mark.parametrize(("dtype", "learns"), [(torch.float16, True), (torch.bfloat16, False)])
def test_float16_scales_the_gradients(dtype: torch.dtype, learns: bool) -> None:
    net = auxiliary_model(dtype)
    net.learn(batch(), 0.0)
    moved = net.model.weight.detach() - 1  # pyright: ignore
    expected = torch.tensor([0.5, -0.5]) if learns else torch.zeros(2)
    assert torch.allclose(moved, expected, atol=1e-2)


def test_a_step_that_overflows_is_left_out_and_lowers_the_scale() -> None:
    net = auxiliary_model(torch.float16)
    net.learn(batch(value=float("inf")), 0.0)
    assert torch.equal(net.model.weight.detach(), torch.ones(2))  # pyright: ignore
    assert net.state_dict()["scaler"]["scale"] == 2.0**15


def test_the_scale_is_part_of_the_state_and_an_empty_batch_changes_nothing() -> None:
    net, again = auxiliary_model(torch.float16), auxiliary_model(torch.float16)
    net.learn(batch(value=float("inf")), 0.0)
    again.load_state_dict(net.state_dict())
    again.learn(batch(rows=0), 0.0)
    assert again.state_dict()["scaler"] == net.state_dict()["scaler"]
    assert torch.equal(again.model.weight.detach(), torch.ones(2))  # pyright: ignore


def test_it_learns_and_scores_by_the_smoothed_loss() -> None:
    shown = Batch(torch.arange(4), torch.randn(4, 1, 2, 2), torch.tensor([0, 1, 1, 0]))
    linear = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    reference = copy.deepcopy(linear)
    net = auxiliary_model(torch.float32, lr=1.0, smoothing=0.2, model=linear)
    losses = nn.functional.cross_entropy(reference(shown.images), shown.labels, reduction="none", label_smoothing=0.2)
    assert torch.allclose(net.score(shown).losses, losses)
    net.learn(shown, 0.0)
    losses.mean().backward()
    for own, other in zip(linear.parameters(), reference.parameters(), strict=True):
        assert other.grad is not None
        assert torch.allclose(own, other - other.grad, atol=1e-6)
