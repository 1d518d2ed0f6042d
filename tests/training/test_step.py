"""The training step, the scoring pass and the validation against hand computation."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from ast_experiments.core.batch import Batch, Outputs
from ast_experiments.core.errors import UserError
from ast_experiments.energy.ledger import Ledger
from ast_experiments.training.average import WeightAverage
from ast_experiments.training.evaluate import evaluate
from ast_experiments.training.hardware import Hardware
from ast_experiments.training.step import Scorer, Stepper

CPU = torch.device("cpu")
HARDWARE = Hardware(CPU, torch.float32, channels_last=False)


def batch(rows: int = 6, weights: torch.Tensor | None = None, seed: int = 0) -> Batch:
    rng = torch.Generator().manual_seed(seed)
    images = torch.randn(rows, 1, 2, 2, generator=rng)
    labels = torch.randint(0, 3, (rows,), generator=rng)
    return Batch(torch.arange(rows), images, labels, weights)


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 3))


def norm() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(4, 3))


def stepper(model: nn.Module, lr: float = 0.5, **settings: Any) -> Stepper:
    return Stepper(model, torch.optim.SGD(model.parameters(), lr=lr), HARDWARE, **settings)


def own_weights(b: Batch, outputs: Outputs) -> torch.Tensor | None:
    return b.weights


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor, smoothing: float = 0.0) -> list[float]:
    """By hand, row by row."""
    losses = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        total = math.log(sum(math.exp(x) for x in row))
        one = total - row[label]
        losses.append((1 - smoothing) * one + smoothing * sum(total - x for x in row) / len(row))
    return losses


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_outputs_are_losses_by_row_and_detached(smoothing: float) -> None:
    model, b = linear(), batch()
    logits = model(b.images).detach()
    outputs, weights = stepper(model, label_smoothing=smoothing).train(b, own_weights)
    assert weights is None
    assert torch.equal(outputs.logits, logits)
    assert outputs.losses.tolist() == pytest.approx(cross_entropy(logits, b.labels, smoothing), rel=1e-5)
    assert not outputs.losses.requires_grad
    assert not outputs.logits.requires_grad


@pytest.mark.parametrize(
    "weights", [None, torch.ones(6), torch.tensor([2.0, 0.0, 1.0, 0.5, 0.0, 3.0]), torch.zeros(6)], ids=str
)
def test_the_step_descends_the_mean_of_weight_times_loss(weights: torch.Tensor | None) -> None:
    model, b = linear(), batch(weights=weights)
    by_hand = copy.deepcopy(model)
    losses = functional.cross_entropy(by_hand(b.images), b.labels, reduction="none")
    (losses * (torch.ones(6) if weights is None else weights)).mean().backward()
    _, used = stepper(model).train(b, own_weights)
    assert used is weights
    for after, before in zip(model.parameters(), by_hand.parameters(), strict=True):
        assert before.grad is not None
        assert torch.allclose(after, before - 0.5 * before.grad, atol=1e-6)
        assert after.grad is None


def test_weights_may_depend_on_the_outputs() -> None:
    seen: list[Outputs] = []

    def hardest(b: Batch, outputs: Outputs) -> torch.Tensor:
        seen.append(outputs)
        return (outputs.losses == outputs.losses.max()).float() * len(b)

    model, b = linear(), batch()
    by_hand = copy.deepcopy(model)
    functional.cross_entropy(by_hand(b.images), b.labels, reduction="none").max().backward()
    outputs, weights = stepper(model).train(b, hardest)
    assert seen[0].losses is outputs.losses
    assert weights is not None
    assert weights.sum() == len(b)
    for after, before in zip(model.parameters(), by_hand.parameters(), strict=True):
        assert before.grad is not None
        assert torch.allclose(after, before - 0.5 * before.grad, atol=1e-6)


@pytest.mark.parametrize("limit", [1e-3, 0.1, 100.0])
def test_gradients_are_clipped_by_their_norm(limit: float) -> None:
    model, b = linear(), batch()
    before = [p.detach().clone() for p in model.parameters()]
    plain = linear()
    stepper(plain, lr=1.0).train(b, own_weights)
    stepper(model, lr=1.0, clip_grad=limit).train(b, own_weights)

    def moved(net: nn.Module) -> float:
        return math.sqrt(
            sum(float(((p.detach() - q) ** 2).sum()) for p, q in zip(net.parameters(), before, strict=True))
        )

    assert moved(model) == pytest.approx(min(limit, moved(plain)), rel=1e-4)


def test_the_moving_average_follows_each_step() -> None:
    model = linear()
    start = [p.detach().clone() for p in model.parameters()]
    ema = WeightAverage(model, decay=0.9, steps=100)
    step = stepper(model, average=ema)
    step.progress = 0.01
    step.train(batch(), own_weights)
    for average, now, before in zip(ema.module.parameters(), model.parameters(), start, strict=True):
        assert torch.allclose(average, 0.1 * before + 0.9 * now, atol=1e-6)  # the first update keeps a tenth


def test_scoring_in_eval_mode_leaves_the_network_alone() -> None:
    model = norm().train()
    before = copy.deepcopy(model.state_dict())
    ledger = Ledger(CPU)
    score = Scorer(stepper(model), ledger)
    b = batch()
    first, second = score(b), score(b, "eval")
    assert torch.equal(first.losses, second.losses)
    assert model.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert not first.logits.requires_grad
    expected = copy.deepcopy(model).eval()(b.images)
    assert torch.equal(first.logits, expected)
    assert ledger.scored == 12
    assert ledger.seconds["score"] > 0


@pytest.mark.parametrize("training", [True, False])
def test_scoring_in_train_mode_moves_the_statistics(training: bool) -> None:
    model = norm().train(training)
    before = copy.deepcopy(model.state_dict())
    ledger = Ledger(CPU)
    outputs = Scorer(stepper(model), ledger)(batch(), "train")
    moved = [key for key, value in model.state_dict().items() if not torch.equal(before[key], value)]
    assert sorted(moved) == ["0.num_batches_tracked", "0.running_mean", "0.running_var"]
    assert model.training is training
    assert not outputs.losses.requires_grad
    assert ledger.scored == 6


def test_scoring_restores_the_mode_after_an_error() -> None:
    model = linear().train()
    ledger = Ledger(CPU)
    wrong = Batch(torch.arange(2), torch.zeros(2, 1, 5, 5), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(RuntimeError):
        Scorer(stepper(model), ledger)(wrong)
    assert model.training
    assert ledger.now()["train"] == 0


class Table(nn.Module):
    """Logits that are read from the images; remembers the modes it ran in."""

    def __init__(self) -> None:
        super().__init__()
        self.modes: list[bool] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.modes.append(self.training)
        assert not torch.is_grad_enabled()
        return images.flatten(1)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("cut", [1, 3, 5, 7])
def test_evaluate_against_hand_computation(training: bool, cut: int) -> None:
    logits = torch.tensor(
        [[2.0, 0, 0, 0], [0, 3, 0, 0], [0, 0, 1, 0], [5, 0, 0, 4], [0, 0, 0, 1], [1, 2, 0, 0], [9, 0, 0, 0]]
    )
    labels = torch.tensor([0, 1, 2, 3, 3, 0, 0])

    def batches() -> Iterator[Batch]:
        for at in range(0, 7, cut):
            part = slice(at, at + cut)
            yield Batch(torch.arange(7)[part], logits[part].view(-1, 1, 2, 2), labels[part])

    model = Table().train(training)
    measured = evaluate(model, batches(), HARDWARE)
    assert measured["val/accuracy"] == pytest.approx(100 * 5 / 7)
    assert measured["val/loss"] == pytest.approx(sum(cross_entropy(logits, labels)) / 7, rel=1e-6)
    assert model.training is training
    assert not any(model.modes)


def test_one_row_and_batchnorm_over_one_pixel() -> None:
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(1, 3))
    with pytest.raises(UserError, match=r"one row reached a BatchNorm.* method\.packing=true"):
        stepper(model).train(batch(1), own_weights)
    stepper(model).train(batch(2), own_weights)
