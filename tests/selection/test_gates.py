"""A batch meets a gate; exact counts; the tally that is held against a promise."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ast_experiments.selection.control import published as sundew
from ast_experiments.selection.control.controller import Tally, pass_gate
from ast_experiments.selection.control.gates import ExactGate
from ast_experiments.selection.control.laws import PI, Quantile, TopK
from ast_experiments.selection.control.stream import stream


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
    state = controller.initial(target)._replace(owed=owed)
    passed = pass_gate(controller, state, torch.tensor(scores), target, np.random.default_rng(0))
    assert passed.mask.nonzero().ravel().tolist() == kept
    assert passed.active == len(kept)
    assert isinstance(passed.active, int)
    assert float(passed.threshold) == pytest.approx(threshold)
    assert float(controller.threshold(passed.state)) == pytest.approx(threshold)
    assert passed.state.owed == pytest.approx(left)
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
    controller, rng, tally = TopK(), np.random.default_rng(seed), Tally()
    state = controller.initial(target)
    for rows in windows:
        scores = torch.from_numpy(rng.lognormal(size=rows).astype(np.float32)).round(decimals=1)
        passed = pass_gate(controller, state, scores, target, rng)
        state = controller.observe(passed.state, passed.active, rows, target)
        tally = tally.add(controller, passed.active, rows, target)
        facts = tally.facts(controller)
        assert abs(tally.share - tally.target) < 1 + 1e-6
        assert facts["bound"] == 1 / tally.weight
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
    state = controller.initial(target)
    for i, rows in enumerate(epochs, 1):
        scores = rng.lognormal(size=rows).astype(np.float32).round(1)
        run = stream(controller, state, scores, size, target, rng)
        total, state = total + int(run.mask.sum()), run.final
        assert abs(total - target * sum(epochs[:i])) < 1 + 1e-6


@pytest.mark.parametrize("controller", [PI(), Quantile(), TopK(), sundew.SundewReport(), sundew.build_two_stage()])
def test_a_batch_meets_the_gate_as_a_window_does(controller):
    """The gate of a batch on the device and of a window of a planned epoch decide alike."""
    rng, target = np.random.default_rng(3), 0.3
    scores = rng.lognormal(0, 1, 32 * 20).astype(np.float32)
    state = controller.renew(controller.initial(target), scores, target)
    states = stream(controller, state, scores, 32, target, np.random.default_rng(7))
    assert states.mask.any()
    # One generator for all windows, as the planned epoch has for its draws.
    if controller.gate is None or isinstance(controller.gate, ExactGate):
        masks = []
        for block in scores.reshape(-1, 32):
            passed = pass_gate(controller, state, torch.from_numpy(block), target, rng)
            masks.append(passed.mask)
            state = controller.observe(passed.state, float(passed.active), 32, target)
        assert torch.cat(masks).tolist() == states.mask.tolist()
    else:
        passed = pass_gate(controller, state, torch.from_numpy(scores), target, np.random.default_rng(7))
        kept, level = controller.gate.decide(
            scores, 0.5, 100.0, *controller.gate.draw(np.random.default_rng(7), len(scores))
        )
        assert passed.mask.tolist() == kept.tolist()
        assert passed.state.reservoir == level


def test_tally_by_hand():
    controller = Quantile(eta=0.5)
    tally = Tally()
    assert tally.facts(controller) == {
        "promise": controller.promise, "windows": 0, "gate_share": None, "gate_target": None, "bound": None,
    }  # fmt: skip
    for active, offered, target in ((16, 32, 0.4), (32, 64, 0.4), (0, 32, 0.1)):
        tally = tally.add(controller, active, offered, target)
    facts = tally.facts(controller)
    assert (facts["windows"], facts["gate_share"], facts["gate_target"]) == (
        3,
        pytest.approx(1 / 3),
        pytest.approx(0.3),
    )
    assert facts["bound"] == controller.bound(3, 128)
    exact = Tally().add(TopK(), 16, 32, 0.4).add(TopK(), 32, 64, 0.4)
    assert (exact.weight, exact.share, exact.target) == (96, 48, pytest.approx(38.4))
    assert PI().bound(10, 320) is None
    assert sundew.SundewReport().bound(10, 320) is None
