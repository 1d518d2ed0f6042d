"""Muon with SGD: who updates what, by how much, and that it resumes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from ast_experiments.models.airnet import AirNet
from ast_experiments.training.muon import MuonSGD

SETTINGS: dict[str, Any] = {
    "lr": 0.1, "momentum": 0.6, "bias_lr": 0.5, "head_lr": 2.0, "sgd_momentum": 0.85, "weight_decay": 0.004,
}  # fmt: skip


def optimizer_of(model: nn.Module, **changed: Any) -> MuonSGD:
    return MuonSGD(model, **SETTINGS | changed)


def take_gradients(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator) if parameter.requires_grad else None


def test_each_parameter_has_its_group() -> None:
    model = AirNet(width=0.25)
    filters, biases, head = optimizer_of(model).param_groups
    named = {id(p): name for name, p in model.named_parameters()}
    names = [{named[id(p)] for p in group["params"]} for group in (filters, biases, head)]
    assert names[0] == {f"blocks.{block}.conv{conv}.weight" for block in range(3) for conv in (1, 2)}
    norms = {f"blocks.{block}.norm{norm}.bias" for block in range(3) for norm in (1, 2)}
    assert names[1] == {"whitening.bias", *norms}
    assert names[2] == {"head.weight"}
    assert [group["lr"] for group in (filters, biases, head)] == [0.1, 0.5, 2.0]
    assert [group["orthogonal"] for group in (filters, biases, head)] == [True, False, False]


def test_filters_are_normalised_and_move_by_the_learning_rate() -> None:
    model = nn.Sequential(nn.Conv2d(6, 4, 3, bias=False), nn.Flatten(), nn.Linear(4, 2, bias=False))
    weight = model[0].weight
    with torch.no_grad():
        weight.mul_(7)
    before = weight.detach().clone()
    take_gradients(model, 0)
    optimizer_of(model).step()
    scaled = before * 2 / before.norm()  # the root of four output channels
    update = (scaled - weight.detach()).flatten(1) / 0.1
    # Newton-Schulz leaves singular values between about 0.5 and 1.5.
    singular = torch.linalg.svdvals(update)
    assert ((singular > 0.3) & (singular < 1.6)).all()
    left, _, right = torch.linalg.svd(model[0].weight.grad.flatten(1), full_matrices=False)  # pyright: ignore
    assert torch.linalg.norm(left.T @ update @ right.T - torch.diag(singular)) < 0.8


def test_biases_and_head_are_those_of_torch_sgd() -> None:
    ours = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2))
    theirs = copy.deepcopy(ours)
    groups = [
        {"params": [theirs[0].bias, theirs[2].bias], "lr": 0.5, "weight_decay": 0.004 / 0.5},
        {"params": [theirs[2].weight], "lr": 2.0, "weight_decay": 0.004 / 2.0},
    ]
    mine, sgd = optimizer_of(ours), torch.optim.SGD(groups, lr=1, momentum=0.85, nesterov=True)
    for step in range(5):
        take_gradients(ours, step)
        take_gradients(theirs, step)
        mine.step()
        sgd.step()
    for index, name in ((0, "bias"), (2, "bias"), (2, "weight")):
        torch.testing.assert_close(getattr(ours[index], name), getattr(theirs[index], name))


def test_a_parameter_without_gradient_stays() -> None:
    model = AirNet(width=0.25)
    before = copy.deepcopy(model.state_dict())
    optimizer_of(model).step()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_goes_on_from_its_state() -> None:
    whole = AirNet(width=0.25)
    broken = copy.deepcopy(whole)
    first, second = optimizer_of(whole), optimizer_of(broken)
    for step in range(4):
        if step == 2:
            state = copy.deepcopy(second.state_dict())
            second = optimizer_of(broken, lr=9.0)
            second.load_state_dict(state)
        for model, optimizer in ((whole, first), (broken, second)):
            take_gradients(model, step)
            optimizer.step()
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, broken.state_dict()[name]), name


def test_learns() -> None:
    torch.manual_seed(0)
    model, images, labels = AirNet(width=0.25), torch.randn(64, 3, 16, 16), torch.arange(64) % 10
    model.whiten(images)
    optimizer = optimizer_of(model, bias_lr=3.0, head_lr=40.0)
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_no_head_is_no_error() -> None:
    assert len(optimizer_of(nn.Conv2d(3, 4, 3)).param_groups) == 2
    with pytest.raises(ValueError, match="empty parameter list"):
        optimizer_of(nn.Flatten())
