"""Clocks of the learning rate: by epochs, and by rows trained."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ast_experiments.training.clock import EpochClock, RowClock


def test_epochs_are_equal_whatever_they_train() -> None:
    clock = EpochClock(4)
    clock.begin(1, 10, [1000.0, 3.0])
    assert clock.at(1, 0.5) == (1 + 0.5) / 4
    assert clock.at(0, 0.0) == 0.0


def test_rows_are_equal_whatever_their_epoch() -> None:
    clock, rows = RowClock(), [900, 600, 300]
    done = 0
    for epoch, now in enumerate(rows):
        clock.begin(epoch, now, [float(n) for n in rows[epoch + 1 :]])
        for share in (0.0, 0.25, 0.9):
            assert clock.at(epoch, share) == pytest.approx((done + share * now) / sum(rows))
        done += now
    assert clock.at(2, 1.0) == pytest.approx(1.0)


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=1, max_size=20))
def test_wrong_expectations_never_turn_it_back_and_it_ends_at_one(epochs: list[tuple[int, int]]) -> None:
    clock, before = RowClock(), 0.0
    for epoch, (rows, expected) in enumerate(epochs):
        clock.begin(epoch, rows, [float(expected)] * (len(epochs) - epoch - 1))
        for share in (0.0, 0.5, 1.0):
            now = clock.at(epoch, share)
            assert before - 1e-12 <= now <= 1.0
            before = now
    assert before == pytest.approx(1.0)


def test_an_epoch_that_is_begun_again_after_a_resume_is_the_same() -> None:
    clock = RowClock()
    clock.begin(0, 300, [200.0, 100.0])
    clock.begin(1, 200, [100.0])
    resumed = RowClock()
    resumed.load_state_dict(clock.state_dict())
    resumed.begin(1, 200, [100.0])
    assert resumed.at(1, 0.3) == clock.at(1, 0.3)
    for each in (clock, resumed):
        each.begin(2, 100, [])
    assert resumed.at(2, 0.7) == clock.at(2, 0.7)
