"""Seconds of the phases: exclusive, and they add up."""

from __future__ import annotations

import pytest
import torch

from ast_experiments.energy import ledger as module
from ast_experiments.energy.ledger import PHASES, Ledger


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module.time, "perf_counter", made)
    return made


@pytest.fixture
def ledger(clock: Clock) -> Ledger:
    return Ledger(torch.device("cpu"))


def test_what_is_in_no_phase_is_setup(clock: Clock, ledger: Ledger) -> None:
    clock.now += 5
    assert ledger.now() == dict.fromkeys(PHASES, 0.0) | {"setup": 5.0}


def test_a_phase_suspends_the_one_around_it(clock: Clock, ledger: Ledger) -> None:
    clock.now += 1
    with ledger.phase("train"):
        clock.now += 2
        with ledger.phase("data_wait"):
            clock.now += 4
            with ledger.phase("score"):
                clock.now += 8
            clock.now += 16
        with ledger.phase("score"):
            clock.now += 32
        clock.now += 64
    clock.now += 128
    expected = {"setup": 129.0, "train": 66.0, "data_wait": 20.0, "score": 40.0}
    assert ledger.now() == dict.fromkeys(PHASES, 0.0) | expected
    assert sum(ledger.now().values()) == 255


def test_the_open_phase_counts_up_to_now(clock: Clock, ledger: Ledger) -> None:
    with ledger.phase("val"):
        clock.now += 3
        assert ledger.now()["val"] == 3
        assert ledger.now()["val"] == 3
        clock.now += 1
    assert ledger.now()["val"] == 4


def test_a_phase_ends_with_an_error(clock: Clock, ledger: Ledger) -> None:
    def fail() -> None:
        with ledger.phase("plan"):
            clock.now += 3
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    clock.now += 1
    assert ledger.now() == dict.fromkeys(PHASES, 0.0) | {"setup": 1.0, "plan": 3.0}


def test_settling_changes_nothing_where_the_host_waits(clock: Clock, ledger: Ledger) -> None:
    with ledger.phase("train"):
        clock.now += 1
        with ledger.phase("score"):
            clock.now += 2
    before = ledger.now()
    ledger.resolve_gpu_timers()
    assert ledger.now() == before


def test_the_state_adds_up_over_a_resume(clock: Clock, ledger: Ledger) -> None:
    with ledger.phase("train"):
        clock.now += 10
        ledger.trained, ledger.offered = 3, 5
        ledger.charge_score(4, 100, 7)
        ledger.charge("train", 50)
        state = ledger.state_dict()
    clock.now += 1000  # between the two runs
    again = Ledger(torch.device("cpu"))
    clock.now += 2
    again.load_state_dict(state)
    assert (again.trained, again.scored, again.offered) == (3, 4, 5)
    assert again.flops == {"score": 407, "train": 50, "val": 0}
    assert again.now() == dict.fromkeys(PHASES, 0.0) | {"setup": 2.0, "train": 10.0}


def test_a_reading_is_a_copy(clock: Clock, ledger: Ledger) -> None:
    reading = ledger.now()
    clock.now += 1
    ledger.now()
    assert reading["setup"] == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_scoring_on_the_device_is_moved_out_of_training() -> None:
    ledger = Ledger(torch.device("cuda"))
    x = torch.randn(4096, 4096, device="cuda")
    torch.cuda.synchronize()
    with ledger.phase("train"):
        with ledger.phase("score"):
            for _ in range(50):
                x = x @ x * 1e-3
        torch.cuda.synchronize()
        host = ledger.now()["score"]
        total = sum(ledger.now().values())
        ledger.resolve_gpu_timers()
    assert ledger.now()["score"] > 2 * host
    assert ledger.now()["train"] >= 0
    assert sum(ledger.now().values()) >= total
