"""Learning rates against their closed forms, and which parameters decay."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from ast_experiments.training.optim import TORCH, FirstStage, Schedule, build_optimizer

PEAK, LOW, EPOCHS = 0.4, 0.01, 10
FORMS: dict[str, Callable[[float], float]] = {
    "constant": lambda p: PEAK,
    "cosine": lambda p: LOW + (PEAK - LOW) * (1 + math.cos(math.pi * p)) / 2,
    "poly": lambda p: LOW + (PEAK - LOW) * (1 - p) ** 2,
    "linear": lambda p: LOW + (PEAK - LOW) * (1 - p),
}


def optimizer(*rates: float) -> torch.optim.Optimizer:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (rates or (PEAK,))]
    return torch.optim.SGD(groups, lr=PEAK)


def schedule(kind: str, on: torch.optim.Optimizer | None = None, **settings: Any) -> Schedule:
    values: dict[str, Any] = {
        "epochs": EPOCHS,
        "by_epoch": False,
        "warmup_epochs": 0.0,
        "warmup_lr": 0.0,
        "min_lr": LOW,
    }
    return Schedule(on or optimizer(), kind, **(values | settings))


@pytest.mark.parametrize("kind", FORMS)
def test_values_by_step(kind: str) -> None:
    rate = schedule(kind)
    for step in range(200):
        assert rate.set(step / 200) == pytest.approx(FORMS[kind](step / 200), rel=1e-9), step


@pytest.mark.parametrize("kind", FORMS)
def test_values_by_epoch(kind: str) -> None:
    rate = schedule(kind, by_epoch=True)
    for epoch in range(EPOCHS):
        for batch in range(7):
            progress = (epoch + batch / 7) / EPOCHS
            assert rate.set(progress) == pytest.approx(FORMS[kind](epoch / EPOCHS), rel=1e-9), (epoch, batch)


@pytest.mark.parametrize("epochs", [1, 3, 7, 30, 49, 100])
def test_an_epoch_begins_with_its_own_rate(epochs: int) -> None:
    """(epoch / epochs) * epochs may fall short of the epoch by rounding."""
    rate = schedule("linear", by_epoch=True, epochs=epochs, min_lr=0.0)
    for epoch in range(epochs):
        assert rate.set(epoch / epochs) == pytest.approx(PEAK * (1 - epoch / epochs))


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("by_epoch", [False, True])
def test_warm_up_is_linear_and_then_the_curve_goes_on(kind: str, by_epoch: bool) -> None:
    """To the peak, from where the curve takes the rest of the run."""
    rate = schedule(kind, warmup_epochs=2.5, warmup_lr=0.05, by_epoch=by_epoch)
    for step in range(100):
        at = float(step // 10) if by_epoch else step / 10
        expected = 0.05 + (PEAK - 0.05) * at / 2.5 if at < 2.5 else FORMS[kind]((at - 2.5) / 7.5)
        assert rate.set(step / 100) == pytest.approx(expected, rel=1e-9), step


@pytest.mark.parametrize(("kind", "left"), [("cosine", 0.0), ("poly", 0.0), ("linear", 0.0)])
def test_runs_of_any_length_end_fully_decayed(kind: str, left: float) -> None:
    for epochs, steps in ((1, 1000), (3, 30_000), (40, 40_000)):
        rate = schedule(kind, epochs=epochs, min_lr=0.0)
        assert rate.set(1 - 1 / steps) / PEAK == pytest.approx(left, abs=1.1 / steps)


def test_values_depend_on_progress_alone() -> None:
    forward, shuffled = schedule("cosine"), schedule("cosine")
    expected = {step: forward.set(step / 50) for step in range(50)}
    for step in (49, 3, 20, 3, 0, 31):
        assert shuffled.set(step / 50) == expected[step]


def test_scale_of_an_epoch_does_not_stay() -> None:
    rate = schedule("linear", min_lr=0.0)
    assert rate.set(0.5, 1.5) == pytest.approx(0.3)
    assert rate.set(0.5, 1.5) == pytest.approx(0.3)
    assert rate.set(0.5) == pytest.approx(0.2)


def test_groups_keep_their_own_peaks() -> None:
    on = optimizer(PEAK, PEAK / 4)
    rate = schedule("cosine", on, min_lr=0.0)
    assert rate.set(0.5, 2.0) == pytest.approx(PEAK)
    assert [group["lr"] for group in on.param_groups] == pytest.approx([PEAK, PEAK / 4])


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 3)


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam", "adamw", "lamb", "lion"])
@pytest.mark.parametrize("everything", [False, True])
def test_biases_and_norms_decay_only_if_asked(name: str, everything: bool) -> None:
    model = Small()
    made = build_optimizer(model, name, lr=0.1, momentum=0.9, weight_decay=0.02, decay_norm_and_bias=everything)
    decay = {id(p): group["weight_decay"] for group in made.param_groups for p in group["params"]}
    assert len(decay) == len(list(model.parameters()))
    for key, parameter in model.named_parameters():
        expected = 0.02 if everything or parameter.ndim > 1 else 0.0
        assert decay[id(parameter)] == expected, key


@pytest.mark.parametrize("name", TORCH)
@pytest.mark.parametrize("decay", [0.0, 0.02])
@pytest.mark.parametrize("everything", [False, True])
def test_torch_optimisers_are_those_that_timm_builds(name: str, decay: float, everything: bool) -> None:
    from timm.optim import create_optimizer_v2  # pyright: ignore[reportPrivateImportUsage]

    model = Small()
    model.norm.weight.requires_grad_(False)
    ours = build_optimizer(model, name, lr=0.1, momentum=0.8, weight_decay=decay, decay_norm_and_bias=everything)
    theirs = create_optimizer_v2(
        model, name, lr=0.1, momentum=0.8, weight_decay=decay, filter_bias_and_bn=not everything, fused=True
    )
    assert type(ours) is type(theirs)
    assert ours.defaults == theirs.defaults
    assert [{**group, "params": list(map(id, group["params"]))} for group in ours.param_groups] == [
        {**group, "params": list(map(id, group["params"]))} for group in theirs.param_groups
    ]


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("warmup", [0.0, 2.5])
def test_the_rate_is_that_of_timm(kind: str, warmup: float) -> None:
    from timm.scheduler.cosine_lr import CosineLRScheduler
    from timm.scheduler.poly_lr import PolyLRScheduler
    from timm.scheduler.step_lr import StepLRScheduler

    settings: dict[str, Any] = {"warmup_t": warmup, "warmup_lr_init": 0.05, "warmup_prefix": True}
    decay = {"t_initial": EPOCHS - warmup, "lr_min": LOW, **settings}
    on = optimizer()
    timm = {
        "constant": lambda: StepLRScheduler(on, decay_t=1e9, **settings),
        "cosine": lambda: CosineLRScheduler(on, **decay),
        "poly": lambda: PolyLRScheduler(on, power=2.0, **decay),
        "linear": lambda: PolyLRScheduler(on, power=1.0, **decay),
    }[kind]()
    ours = schedule(kind, warmup_epochs=warmup, warmup_lr=0.05)
    for step in range(200):
        progress = step / 200
        timm.step(progress * EPOCHS)  # pyright: ignore[reportArgumentType]
        assert ours.set(progress) == on.param_groups[0]["lr"], step


@pytest.mark.slow
def test_a_short_run_imports_neither_timm_nor_sklearn() -> None:
    code = """
import sys
from torch import nn
from ast_experiments.data.in_memory.load import load_digits
from ast_experiments.training.optim import Schedule, build_optimizer
assert len(load_digits().train) == 1442
made = build_optimizer(nn.Linear(2, 2), "adamw", lr=0.1, momentum=0.9, weight_decay=0.1, decay_norm_and_bias=False)
Schedule(made, "cosine", epochs=2, by_epoch=False, warmup_epochs=1, warmup_lr=0, min_lr=0).set(0.5)
print(*(name for name in ("timm", "sklearn") if name in sys.modules))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


@pytest.mark.parametrize(("name", "nesterov"), [("sgd", True), ("momentum", False)])
def test_momentum_is_nesterov_for_sgd(name: str, nesterov: bool) -> None:
    made = build_optimizer(Small(), name, lr=0.1, momentum=0.8, weight_decay=0.0, decay_norm_and_bias=True)
    assert {(group["nesterov"], group["momentum"]) for group in made.param_groups} == {(nesterov, 0.8)}


def test_a_first_stage_as_published() -> None:
    """Ten epochs: half the peak, the peak, then a cosine over eight; then a cosine of its own over forty."""
    first = FirstStage(share=0.2, lr_scale=2.0, warmup=0.2, min_lr=1e-6, label_smoothing=0.1)
    rate = schedule("cosine", optimizer(0.005, 0.05), epochs=50, by_epoch=True, min_lr=1e-5, first=first)
    rates, smoothings = [], []
    for epoch in range(50):
        rates.append(rate.set((epoch + 0.4) / 50))
        smoothings.append(rate.label_smoothing)
    expected = [0.005, 0.01]
    expected += [1e-6 + (0.01 - 1e-6) * (1 + math.cos(math.pi * epoch / 8)) / 2 for epoch in range(8)]
    expected += [1e-5 + (0.005 - 1e-5) * (1 + math.cos(math.pi * epoch / 40)) / 2 for epoch in range(40)]
    assert rates == pytest.approx(expected, rel=1e-9)
    assert smoothings == [0.1] * 10 + [0.0] * 40


def test_a_first_stage_by_step_and_for_every_group() -> None:
    first = FirstStage(share=0.5, lr_scale=2.0, warmup=0.2, min_lr=0.0, label_smoothing=0.0)
    on = optimizer(0.1, 0.4)
    rate = schedule("linear", on, min_lr=0.0, first=first)
    seen = []
    for progress in (0.05, 0.1, 0.3, 0.5, 0.75):
        rate.set(progress, scale=0.5)
        seen.append([group["lr"] / 0.5 for group in on.param_groups])
    shares = [1.0, 2.0, 1.0, 1.0, 0.5]  # half of the rise, the peak, half of the fall; the peak and half of the rest
    assert seen == [pytest.approx([0.1 * share, 0.4 * share]) for share in shares]
