"""Nominal savings against the published accounting, kept batch by batch."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ast_experiments.energy.nominal import nominal_savings, skipped_share

BATCHES = st.lists(
    st.integers(1, 512).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), min_size=1, max_size=200
)


@given(BATCHES)
def test_running_recurrence(batches):
    cost = dense = 0.0
    trained = offered = 0
    for rows, active in batches:
        cost = cost + 1.0 * active + 0.01 * (rows - active)
        dense = dense + 1.0 * rows
        trained, offered = trained + active, offered + rows
        assert nominal_savings(trained, offered) == pytest.approx(1 - cost / dense, abs=1e-9)
        assert nominal_savings(trained, offered) == pytest.approx(0.99 * (1 - trained / offered), abs=1e-12)
        assert skipped_share(trained, offered) == pytest.approx(1 - trained / offered)


@pytest.mark.parametrize(
    ("trained", "offered", "savings", "skipped"),
    [
        (104, 1000, 0.88704, 0.896),  # the published 10.4 %: the headline is the skipped share
        (385, 1000, 0.60885, 0.615),
        (0, 10, 0.99, 1.0),
        (10, 10, 0.0, 0.0),
        (0, 0, 0.0, 0.0),
        (12, 10, -0.198, -0.2),  # more trained than offered costs more than dense
    ],
)
def test_expected_values(trained, offered, savings, skipped):
    assert nominal_savings(trained, offered) == pytest.approx(savings, abs=1e-12)
    assert skipped_share(trained, offered) == pytest.approx(skipped, abs=1e-12)


def test_other_costs():
    assert nominal_savings(25, 100, active_cost=2.0, skipped_cost=0.5) == pytest.approx(1 - (50 + 37.5) / 200)
    assert nominal_savings(25, 100, 1.0, 0.0) == pytest.approx(0.75)
    assert nominal_savings(25, 100, 1.0, 1.0) == pytest.approx(0.0)
