"""A pilot takes at most its share of the run."""

from __future__ import annotations

import itertools

import pytest

from ast_experiments.pilot.size import LEAST_ROWS, SHARE, size_of


@pytest.mark.parametrize("share", [SHARE, 0.02])
def test_rows_trained_and_scored_are_at_most_the_share(share):
    sizes = (200, 1442, 25_000, 50_000, 1_281_167)
    for rows, epochs, batch in itertools.product(sizes, (1, 4, 8, 30, 90, 3.5), (32, 500, 2000)):
        size = size_of(rows, epochs, batch, share)
        if size is None:
            continue
        assert size.rows <= share * rows * epochs
        assert size.trained + size.scored <= rows
        assert size.trained % batch == 0
        assert size.trained * size.passes >= 6 * batch


def test_a_run_of_which_a_tenth_tells_nothing_has_no_pilot():
    assert size_of(25_000, 1, 500) is None
    assert size_of(LEAST_ROWS - 1, 1000, 10) is None
    assert size_of(LEAST_ROWS, 1000, 10) is not None
    assert size_of(25_000, 8, 500) == (16_000, 1, 4000)
    assert size_of(50_000, 10, 500) == (46_000, 1, 4000)
