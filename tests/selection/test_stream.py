"""The arithmetic of planning against naive loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ast_experiments.selection.control.gates import exact_count
from ast_experiments.selection.control.pi import PI
from ast_experiments.selection.control.quantile import Quantile
from ast_experiments.selection.control.stream import control_trace, gate_stream
from ast_experiments.selection.control.sundew_comparison import SundewComparison
from ast_experiments.selection.control.sundew_report import SundewReport
from ast_experiments.selection.control.sundew_two_stage import SundewTwoStage
from ast_experiments.selection.control.topk import TopK
from ast_experiments.selection.control.windows import Windows, batch_trace, explore

CONTROLLERS = {
    "pi": PI(),
    "quantile": Quantile(),
    "topk": TopK(),
    "report": SundewReport(),
    "comparison": SundewComparison(),
    "two_stage": SundewTwoStage(start=3.0, low=0.5, high=10.0),
}


def window_bounds(rows, size):
    """(begin, end) of each window: whole windows, the last with what is left over."""
    count = max(1, rows // size)
    return [(i * size, rows if i == count - 1 else (i + 1) * size) for i in range(count)]


@pytest.mark.parametrize(
    ("rows", "size", "ends"),
    [
        (0, 32, []),
        (1, 32, [1]),
        (31, 32, [31]),
        (32, 32, [32]),
        (33, 32, [33]),
        (64, 32, [32, 64]),
        (95, 32, [32, 95]),
        (96, 32, [32, 64, 96]),
        (3, 1, [1, 2, 3]),
    ],
)
def test_windows(rows, size, ends):
    windows = Windows(rows, size)
    assert windows.count == len(ends)
    assert windows.ends.tolist() == ends
    index = windows.of(np.arange(rows)).tolist()
    assert index == [i for i, (b, e) in enumerate(zip([0, *ends], ends, strict=False)) for _ in range(b, e)]
    head, tail = windows.blocks(np.arange(rows))
    assert np.concatenate([head.ravel(), tail.ravel()]).tolist() == list(range(rows))
    if rows:
        assert (len(head), len(tail)) == (len(ends) - 1, 1)


@pytest.mark.parametrize("rows", [5, 32, 33, 1000, 2048, 2079])
@pytest.mark.parametrize("name", CONTROLLERS)
def test_stream_equals_a_loop_over_windows(name, rows):
    controller, size, target = CONTROLLERS[name], 32, 0.3
    rng = np.random.default_rng(rows)
    scores = rng.lognormal(0, 1, rows).astype(np.float32)
    scores[rng.random(rows) < 0.2] = 1.0  # ties
    start = controller.begin_epoch(None, scores, target)
    result = gate_stream(controller, start, scores, size, target, np.random.default_rng(7))
    assert result.mask.dtype == bool

    draws = np.random.default_rng(7)
    reservoir_gate = isinstance(controller, SundewReport)
    if reservoir_gate:
        uniforms, inflows = controller.reservoir_gate.draw(draws, rows)
    state, states, thresholds, mask = start, [], [], []
    for begin, end in window_bounds(rows, size):
        threshold, kept = math.nan if controller.exact else float(controller.threshold(state)), []
        reservoir = state.reservoir if reservoir_gate else 0.0
        if controller.exact:
            count = math.floor(target * end + 1e-9) - math.floor(target * begin + 1e-9)
            ranked = sorted(range(begin, end), key=lambda row: (-scores[row], row))
            threshold = float(scores[ranked[min(count, end - begin - 1)]])
            kept = [row in ranked[:count] for row in range(begin, end)]
        for row in range(begin, end) if not kept else ():
            keep = float(scores[row]) > threshold
            if reservoir_gate:
                odds = 1 / (1 + math.exp(-(float(scores[row]) - threshold) / 0.15))
                keep = keep and uniforms[row] < odds and reservoir > 10
                reservoir = min(100.0, reservoir - 10 * keep + inflows[row])
            kept.append(keep)
        state = state._replace(reservoir=reservoir) if reservoir_gate else state
        state = controller.observe(state, sum(kept), end - begin, target)
        states.append(state)
        thresholds.append(threshold)
        mask += kept
    if controller.exact:
        state = state._replace(remainder=target * rows - sum(mask))
    assert result.mask.tolist() == mask
    assert len(result.states) == len(states)
    assert result.thresholds == pytest.approx(np.array(thresholds), abs=1e-9)
    for got, expected in zip([*result.states, result.final], [*states, state], strict=True):
        assert tuple(got) == pytest.approx(tuple(expected), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(share=st.floats(0, 1), rows=st.lists(st.integers(0, 5000), min_size=1, max_size=100))
def test_exact_count_never_drifts(share, rows):
    fraction, total = 0.0, 0
    for i, n in enumerate(rows, 1):
        count, fraction = exact_count(share, n, fraction)
        assert isinstance(count, int)
        assert 0 <= count <= n
        assert 0 <= fraction <= 1
        total += count
        assert abs(total - share * sum(rows[:i])) < 1 + 1e-6


@pytest.mark.parametrize(
    ("share", "rows", "fraction", "expected"),
    [
        (0.1, 10, 0.0, (1, 0.0)),
        (0.1, 15, 0.0, (1, 0.5)),
        (0.1, 15, 0.5, (2, 0.0)),
        (1.0, 7, 0.9, (7, 0.9)),
        (0.0, 7, 0.0, (0, 0.0)),
        (0.3, 10, 0.0, (3, 0.0)),
        (0.4, 0, 0.7, (0, 0.7)),
    ],
)
def test_exact_count(share, rows, fraction, expected):
    assert exact_count(share, rows, fraction) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=80, deadline=None)
@given(
    rows=st.integers(0, 400),
    size=st.integers(1, 64),
    share=st.floats(0, 1),
    fraction=st.floats(0, 0.999),
    passing=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    seed=st.integers(0, 2**16),
)
def test_explore_draws_exact_counts_from_what_did_not_pass(rows, size, share, fraction, passing, seed):
    rng = np.random.default_rng(seed)
    mask = rng.random(rows) < passing
    drawn, left = explore(mask, size, share, fraction, rng)
    assert drawn.shape == mask.shape
    assert not (drawn & mask).any()
    if not rows or share == 0:
        assert not drawn.any()
        assert left == fraction
        return
    done = 0
    for begin, end in window_bounds(rows, size):
        due = math.floor(share * end + fraction + 1e-9)
        available = int((~mask[begin:end]).sum())
        count = int(drawn[begin:end].sum())
        assert count == min(due - done, available)  # what was not there before is made up for
        done += count
    assert left == pytest.approx(min(share * rows + fraction - done, max(1.0, share * rows)), abs=1e-9)


def test_explore_makes_up_for_what_a_window_cannot_give():
    mask = np.array([1, 1, 1, 0, 1, 1, 1, 1, 0, 0, 0, 0], dtype=bool)  # windows of 4: 1, 0 and 4 rows to draw from
    rng = np.random.default_rng(0)
    drawn, left = explore(mask, 4, 0.5, 0.0, rng)
    assert [int(drawn[i : i + 4].sum()) for i in (0, 4, 8)] == [1, 0, 4]
    assert left == 1.0
    again, left = explore(np.zeros(12, dtype=bool), 4, 0.5, left, rng)
    assert [int(again[i : i + 4].sum()) for i in (0, 4, 8)] == [3, 2, 2]
    assert left == 0.0
    # Where nothing is left over for long, no more is owed than an epoch wants.
    owed = 0.0
    for _ in range(5):
        _, owed = explore(np.ones(12, dtype=bool), 4, 0.5, owed, rng)
    assert owed == 6.0


def test_explore_accumulates_over_epochs():
    fraction, total = 0.0, 0
    for epoch in range(100):
        drawn, fraction = explore(np.zeros(333, bool), 32, 0.0123, fraction, np.random.default_rng(epoch))
        total += int(drawn.sum())
        assert abs(total - 0.0123 * 333 * (epoch + 1)) <= 1


def test_explore_draws_uniformly():
    rng = np.random.default_rng(0)
    mask = rng.random(96) < 0.4
    counts = np.zeros(96)
    for _ in range(4000):
        counts += explore(mask, 32, 0.125, 0.0, rng)[0]
    for begin in (0, 32, 64):
        observed = counts[begin : begin + 32][~mask[begin : begin + 32]]
        cells = len(observed)
        expected = 4000 * 4 / cells
        # Draws without replacement: the variance of a cell is p (1 - p) n with p = 4 / cells.
        statistic = ((observed - expected) ** 2 / (expected * (1 - 4 / cells))).sum() * (cells - 1) / cells
        assert abs(statistic - (cells - 1)) < 4 * math.sqrt(2 * (cells - 1))


@settings(max_examples=80, deadline=None)
@given(rows=st.integers(1, 300), batch=st.integers(1, 40), share=st.floats(0, 1), seed=st.integers(0, 2**16))
def test_batch_trace(rows, batch, share, seed):
    rng = np.random.default_rng(seed)
    picked = np.flatnonzero(rng.random(rows) < share)
    carried = int(rng.integers(0, batch))
    positions, offered = batch_trace(picked, carried, batch, rows)
    queue = [None] * carried + picked.tolist()
    lasts = [queue[end - 1] for end in range(batch, len(queue) + 1, batch)]
    assert positions.tolist() == lasts
    assert offered.tolist() == [*(p + 1 for p in lasts[:-1]), rows][: len(lasts)]
    assert positions.dtype == offered.dtype == np.int64


def test_batch_trace_with_carried_rows_alone():
    positions, offered = batch_trace(np.array([4, 9]), 5, 2, 20)
    assert positions.tolist() == [0, 0, 4]
    assert offered.tolist() == [0, 0, 20]
    assert [len(a) for a in batch_trace(np.empty(0, np.int64), 3, 4, 20)] == [0, 0]


@pytest.mark.parametrize(("rows", "batch"), [(1000, 16), (1000, 100), (40, 3), (20, 4)])
@pytest.mark.parametrize("name", CONTROLLERS)
def test_control_trace(name, rows, batch):
    controller, size, target, explored = CONTROLLERS[name], 32, 0.3, 0.05
    scores = np.random.default_rng(rows).lognormal(0, 1, rows).astype(np.float32)
    start = controller.begin_epoch(None, scores, target)
    result = gate_stream(controller, start, scores, size, target, np.random.default_rng(0))
    picked = np.flatnonzero(result.mask)
    positions, _ = batch_trace(picked, 2, batch, rows)
    if not len(positions):
        pytest.skip("no full batch")
    trace = control_trace(controller, result, size, positions, explored=explored)
    bounds = window_bounds(rows, size)
    before = -1
    for b, position in enumerate(positions):
        w = next(i for i, (_, end) in enumerate(bounds) if position < end)
        begin = bounds[min(before + 1, w)][0]
        expected = {
            **controller.signals(result.states[w]),
            "control/threshold": result.thresholds[w],
            "control/activation_rate_ema": result.states[w].ema + explored,
            "control/gate_share": result.mask[begin : bounds[w][1]].mean(),
        }
        assert {k: float(v[b]) for k, v in trace.items()} == pytest.approx(expected, abs=1e-12)
        before = w
