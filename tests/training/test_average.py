"""The average of the weights spans the same share of the run for every method, and never the random start."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ast_experiments.training.average import WeightAverage


def ramp(decay: float, dense: int, steps: int) -> tuple[WeightAverage, list[float]]:
    """Averages a weight that is the progress of the run, starting at -100; returns the average after each step."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, -100.0)
    average, seen = WeightAverage(model, decay, dense), []
    for step in range(1, steps + 1):
        nn.init.constant_(model.weight, step / steps)
        average.update(model, step / steps)
        seen.append(float(average.module.weight.detach()))
    return average, seen


def lag(decay: float, dense: int, steps: int) -> float:
    """Returns how far the average lies behind the end of the run, as a share of the run."""
    return 1 - ramp(decay, dense, steps)[1][-1]


@pytest.mark.parametrize("decay", [0.9, 0.99, 0.995])
def test_a_long_dense_run_averages_as_ever(decay: float) -> None:
    """The lag of an exponential average is 1 / (1 - decay) steps, less one."""
    assert lag(decay, 4000, 4000) * 4000 == pytest.approx(decay / (1 - decay), rel=0.01)


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5])
@pytest.mark.parametrize("decay", [0.99, 0.999, 0.9999])
def test_the_span_is_the_same_share_of_the_run_at_every_rate(rate: float, decay: float) -> None:
    dense = 4000
    sparse = round(rate * dense)
    half = (1 / sparse - 1 / dense) / 2  # the average of fewer, longer steps
    assert lag(decay, dense, sparse) == pytest.approx(lag(decay, dense, dense), abs=1.5 * half + 2e-3)


@pytest.mark.parametrize("steps", [20, 100, 690, 5000])
@pytest.mark.parametrize("decay", [0.999, 0.9999, 0.999999])
def test_the_random_start_is_forgotten_however_short_the_run(steps: int, decay: float) -> None:
    """The start is at -100: a hundredth of it would move the average by 1."""
    assert 0 < lag(decay, steps, steps) < 1 / 9 + 0.05


def test_several_updates_at_the_same_progress_and_none_are_one_share() -> None:
    model = nn.Linear(1, 1)
    average = WeightAverage(model, 0.5, 100)
    for _ in range(40):
        average.update(model, 0.4)
    assert average.decay(0.4) == 41 / 50
    assert average.decay(0.43) == pytest.approx(0.5**3)


def test_it_goes_on_where_it_was_saved() -> None:
    whole, _ = ramp(0.99, 300, 300)
    model = nn.Linear(1, 1, bias=False)
    first, _ = ramp(0.99, 300, 300)
    resumed = WeightAverage(model, 0.99, 300)
    resumed.load_state_dict(first.state_dict())
    assert torch.equal(resumed.module.weight, whole.module.weight)
    assert resumed.decay(1.01) == whole.decay(1.01)
    assert math.isclose(resumed.decay(1.01), 0.99**3, rel_tol=1e-6)
