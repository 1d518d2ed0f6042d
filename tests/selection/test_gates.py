"""A batch meets a gate; exact counts; the statistics that are compared with a guarantee."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ast_experiments.selection.control.controller import NO_SCORES, Controller
from ast_experiments.selection.control.pi import PI
from ast_experiments.selection.control.quantile import Quantile
from ast_experiments.selection.control.statistics import RateStatistics
from ast_experiments.selection.control.stream import gate_stream
from ast_experiments.selection.control.sundew_report import SundewReport
from ast_experiments.selection.control.sundew_two_stage import SundewTwoStage
from ast_experiments.selection.control.topk import TopK
from ast_experiments.selection.control.windows import Windows


@pytest.mark.parametrize(
    ("scores", "target", "owed", "kept", "threshold", "left"),
    [
        ([1.0, 3.0, 2.0, 0.5], 0.5, 0.0, [1, 2], 1.0, 0.0),
        ([1.0, 3.0, 2.0, 0.5], 0.3, 0.0, [1], 2.0, 0.2),
        ([1.0, 3.0, 2.0, 0.5], 0.3, 0.9, [1, 2], 1.0, 0.1),
        ([2.0, 2.0, 2.0, 2.0], 0.5, 0.0, [0, 1], 2.0, 0.0),  # of equal scores the first
        ([1.0, 3.0], 0.1, 0.0, [], 3.0, 0.2),
        ([1.0, 3.0], 1.0, 0.5, [0, 1], 1.0, 0.5),
        ([0.0, 1e9, 1e9], 0.34, 0.0, [1], 1e2, 0.02),  # bounded: both are at the cap
    ],
)
def test_exact_gate_by_hand(scores, target, owed, kept, threshold, left):
    controller = TopK()
    state = controller.begin_epoch(None, NO_SCORES, target)._replace(remainder=owed)
    passed = controller.gate(state, torch.tensor(scores), target, np.random.default_rng(0))
    assert passed.mask.nonzero().ravel().tolist() == kept
    assert passed.active == len(kept)
    assert isinstance(passed.active, int)
    assert float(passed.threshold) == pytest.approx(threshold)
    assert passed.state.remainder == pytest.approx(left)
    # Nothing falls back, however few rows pass.
    active, fell_back = controller.fallback.apply(passed.mask, torch.tensor(scores), torch.zeros(len(scores)))
    assert torch.equal(active, passed.mask)
    assert not fell_back


@settings(max_examples=40, deadline=None)
@given(
    target=st.floats(0.001, 0.999),
    windows=st.lists(st.integers(1, 200), min_size=1, max_size=40),
    seed=st.integers(0, 1000),
)
def test_topk_is_exact_to_one_row_over_a_run_of_batches(target, windows, seed):
    controller, rng, statistics = TopK(), np.random.default_rng(seed), RateStatistics()
    state = controller.begin_epoch(None, NO_SCORES, target)
    for rows in windows:
        scores = torch.from_numpy(rng.lognormal(size=rows).astype(np.float32)).round(decimals=1)
        passed = controller.gate(state, scores, target, rng)
        state = controller.observe(passed.state, passed.active, rows, target)
        statistics = statistics.add(controller, passed.active, rows, target)
        facts = statistics.facts(controller)
        assert abs(statistics.share - statistics.target) < 1 + 1e-6
        assert facts["bound"] == 1 / statistics.weight
        assert abs(facts["gate_share"] - facts["gate_target"]) < facts["bound"] + 1e-6


@settings(max_examples=40, deadline=None)
@given(
    target=st.floats(0.001, 0.999),
    epochs=st.lists(st.integers(0, 500), min_size=1, max_size=10),
    size=st.integers(1, 100),
    seed=st.integers(0, 1000),
)
def test_topk_is_exact_over_planned_epochs(target, epochs, size, seed):
    controller, rng, total = TopK(), np.random.default_rng(seed), 0
    state = controller.begin_epoch(None, NO_SCORES, target)
    for i, rows in enumerate(epochs, 1):
        scores = rng.lognormal(size=rows).astype(np.float32).round(1)
        run = gate_stream(controller, state, scores, size, target, rng)
        total, state = total + int(run.mask.sum()), run.final
        assert abs(total - target * sum(epochs[:i])) < 1 + 1e-6


CONTROLLERS = [PI(), Quantile(), TopK(), SundewReport(), SundewTwoStage()]


@pytest.mark.parametrize("rows", [32 * 20, 32 * 20 + 7, 5])
@pytest.mark.parametrize("controller", [c for c in CONTROLLERS if not isinstance(c, SundewReport)])
def test_planning_gates_windows_as_batches_are_gated(controller, rows):
    """The default, which passes one window after the other through `gate`, and what is faster give the same."""
    target = 0.3
    scores = np.random.default_rng(3).lognormal(0, 1, rows).astype(np.float32)
    state = controller.begin_epoch(None, scores, target)
    slow, fast = (
        gate(controller, state, scores, Windows(rows, 32), target, np.random.default_rng(7))
        for gate in (Controller.gate_windows, type(controller).gate_windows)
    )
    assert slow.mask.any()
    assert slow.mask.tolist() == fast.mask.tolist()
    assert slow.active.tolist() == fast.active.tolist()
    assert slow.thresholds == pytest.approx(fast.thresholds)
    assert slow.final == pytest.approx(fast.final)
    for one, other in zip(slow.states, fast.states, strict=True):
        assert controller.signals(one) == pytest.approx(controller.signals(other))


def test_the_reservoir_gate_of_a_batch():
    controller, scores = SundewReport(), np.random.default_rng(3).lognormal(0, 1, 640).astype(np.float32)
    state = controller.begin_epoch(None, NO_SCORES, 0.3)
    passed = controller.gate(state, torch.from_numpy(scores), 0.3, np.random.default_rng(7))
    gate = controller.reservoir_gate
    kept, level = gate.decide(scores, 0.5, 100.0, *gate.draw(np.random.default_rng(7), len(scores)))
    assert passed.mask.tolist() == kept.tolist()
    assert passed.state.reservoir == level


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_an_empty_epoch_changes_nothing(controller):
    state = controller.begin_epoch(None, np.ones(4), 0.3)
    trace = gate_stream(controller, state, NO_SCORES, 32, 0.3, np.random.default_rng(0))
    assert (len(trace.mask), len(trace.active), trace.final) == (0, 0, state)


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_states_are_plain_values(controller):
    scores = np.random.default_rng(3).lognormal(0, 1, 640).astype(np.float32)
    state = controller.begin_epoch(None, scores, 0.3)
    state = gate_stream(controller, state, scores, 32, 0.3, np.random.default_rng(0)).final
    values = state._asdict()
    assert all(value is None or type(value) in (int, float) for value in values.values())
    assert controller.restore(values) == state


def test_statistics_by_hand():
    controller = Quantile(eta=0.5)
    statistics = RateStatistics()
    assert statistics.facts(controller) == {
        "promise": controller.guarantee, "windows": 0, "gate_share": None, "gate_target": None, "bound": None,
    }  # fmt: skip
    for active, offered, target in ((16, 32, 0.4), (32, 64, 0.4), (0, 32, 0.1)):
        statistics = statistics.add(controller, active, offered, target)
    facts = statistics.facts(controller)
    assert (facts["windows"], facts["gate_share"], facts["gate_target"]) == (
        3,
        pytest.approx(1 / 3),
        pytest.approx(0.3),
    )
    assert facts["bound"] == controller.guarantee_bound(3, 128)
    exact = RateStatistics().add(TopK(), 16, 32, 0.4).add(TopK(), 32, 64, 0.4)
    assert (exact.weight, exact.share, exact.target) == (96, 48, pytest.approx(38.4))
    assert PI().guarantee_bound(10, 320) is None
    assert SundewReport().guarantee_bound(10, 320) is None
