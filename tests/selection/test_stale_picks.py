"""Stale picks of exact counts over runs of epochs, with and without weights; what facts report."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from selection_tools import World, no_score, prepared, run

from ast_experiments.selection.control.pi import PI
from ast_experiments.selection.control.quantile import Quantile
from ast_experiments.selection.control.topk import TopK
from ast_experiments.selection.methods.ast import AST
from ast_experiments.selection.significance.loss import loss


def make(samples=997, batch_size=32, seed=0, controller=None, **settings):
    selector = AST(controller or PI(), loss, **settings)
    return prepared(selector, samples=samples, batch_size=batch_size, seed=seed)


WAYS = {
    "topk": {"pick": "topk"},
    "proportional": {"pick": "proportional", "temperature": 0.7},
    "reweighted": {"pick": "proportional", "reweight": True},
    "controlled": {"controller": TopK()},
}


@settings(max_examples=25, deadline=None)
@given(
    way=st.sampled_from(sorted(WAYS)),
    samples=st.integers(20, 400),
    share=st.floats(0.02, 1.0),
    target=st.floats(0.01, 0.999),
    exploration=st.floats(0.01, 1.0),
    warm=st.integers(0, 2),
    seed=st.integers(0, 1000),
)
def test_rates_are_exact_to_one_row_over_a_run(way, samples, share, target, exploration, warm, seed):
    selector = make(samples, max(1, int(share * samples)), seed, **WAYS[way] | {"exploration": exploration})
    world, picked, wanted, waiting = World(samples, seed), 0, 0.0, np.empty(0, dtype=np.int64)
    for epoch in range(warm + 12):
        now = 1.0 if epoch < warm else target
        plan, again = selector.plan(epoch, now), selector.plan(epoch, now)
        assert np.array_equal(plan.ids, again.ids)
        assert (plan.weights is None) == (again.weights is None)
        assert plan.weights is None or np.array_equal(plan.weights, again.weights)
        assert len(np.unique(plan.ids)) == len(plan.ids)
        assert np.array_equal(plan.ids[: len(waiting)], waiting[: len(plan.ids)])  # at the head, once
        assert plan.offered == samples - len(waiting)
        world.train(selector, plan, epoch)
        selector.end_epoch(no_score)
        before, waiting = len(waiting), selector.state_dict()["method"]["carry"]["ids"].numpy()
        assert not set(waiting) & set(plan.ids)
        if now < 1:
            picked += len(plan.ids) + len(waiting) - before
            wanted += now * plan.offered
            # With a gate of its own and exploration, each is exact to one row.
            assert abs(picked - wanted) < (3 if way == "controlled" else 1) + 1e-6
    facts = selector.facts()
    if facts["windows"]:
        assert abs(facts["gate_share"] - facts["gate_target"]) <= facts["bound"] + 1e-9


def test_proportional_prefers_high_scores_and_keeps_exploring():
    selector, world = make(pick="proportional", exploration=0.2, temperature=1.0), World(997)
    run(selector, world, [1.0])
    scores = selector.history.scores
    plan = selector.plan(1, 0.3)
    rate = np.zeros(997)
    rate[plan.ids] = 1
    ranked = np.argsort(scores)
    thirds = [rate[part].mean() for part in np.array_split(ranked, 3)]
    assert thirds[0] < thirds[1] < thirds[2] < 0.95
    assert thirds[0] > 0.05
    # All uniform: no preference is left.
    even = make(pick="proportional", exploration=1.0)
    run(even, World(997), [1.0])
    even.history.scores[:] = np.where(np.arange(997) < 500, 1e-6, 1e2)
    assert (even.plan(1, 0.5).ids < 500).mean() == pytest.approx(0.5, abs=0.07)


def test_weights_travel_with_carried_rows_and_end_with_a_dense_epoch():
    selector, world = make(pick="proportional", reweight=True, exploration=0.1), World(997)
    known = {}
    for epoch, target in enumerate([1.0, 0.3, 0.3, 0.3, 0.3, 1.0]):
        plan = selector.plan(epoch, target)
        if target >= 1:
            assert plan.weights is None
            assert len(plan.ids) == 997
        else:
            assert plan.weights.dtype == np.float32
            assert plan.weights.shape == plan.ids.shape
            assert plan.weights.max() <= 10 + 1e-4
            assert plan.weights.mean() == pytest.approx(1, abs=0.15)
            for i, weight in known.items():
                assert plan.weights[plan.ids == i] == pytest.approx(weight)
        world.train(selector, plan, epoch)
        selector.end_epoch(no_score)
        waiting = selector.state_dict()["method"]["carry"]
        known = dict(zip(waiting["ids"].tolist(), waiting["weights"].tolist(), strict=True))
    assert not known


def test_weights_average_one_over_epochs_and_make_the_loss_unbiased():
    samples = 997
    selector, world = make(samples, 1, pick="proportional", reweight=True, exploration=0.2), World(samples)
    run(selector, world, [1.0])
    means, losses = [], []
    values = selector.history.scores.astype(np.float64)
    for seed in range(300):
        other = make(samples, 1, seed, pick="proportional", reweight=True, exploration=0.2)
        other.load_state_dict(selector.state_dict())
        plan = other.plan(1, 0.25)
        means.append(plan.weights.mean())
        losses.append((plan.weights * values[plan.ids]).mean())
    assert np.mean(means) == pytest.approx(1, abs=4 * np.std(means) / np.sqrt(300))
    assert np.mean(losses) == pytest.approx(values.mean(), abs=4 * np.std(losses) / np.sqrt(300))
    # Sampling in proportion to what is summed makes the sum more certain than a uniform draw of as many rows would.
    uniform = [np.random.default_rng(s).choice(values, 249, replace=False).mean() for s in range(300)]
    assert np.std(losses) < 0.5 * np.std(uniform)


def test_uniform_epochs_have_weight_one():
    selector = make(pick="proportional", reweight=True)
    plan = selector.plan(0, 0.4)
    assert (plan.weights == 1).all()


@pytest.mark.parametrize("target", [0.9, 0.99, 0.999])
def test_rates_close_to_one_are_held(target):
    """Where a window has too few rows left over to explore, later ones make up for it."""
    selector, world = make(1442, 32), World(1442)
    run(selector, world, [1.0])
    plans = run(selector, world, [target] * 20, start=1)
    assert sum(len(p.ids) for p in plans) / sum(p.offered for p in plans) == pytest.approx(target, abs=0.005)


@pytest.mark.parametrize("controller", [PI(), Quantile(), TopK()])
def test_facts_hold_the_share_against_the_promise(controller):
    selector, world = make(2017, 64, controller=controller), World(2017)
    assert selector.facts()["windows"] == 0
    shares, targets, weights = [], [], []
    for epoch, target in enumerate([1.0, *np.linspace(0.6, 0.2, 20)]):
        plan = selector.plan(epoch, target)
        if epoch:
            gate = 0.7 * target
            shares.append(
                selector.method.committed.next.statistics.share - selector.method.committed.now.statistics.share
            )
            windows = plan.offered // 32
            weights.append(plan.offered if isinstance(controller, TopK) else windows)
            targets.append(gate * weights[-1])
        world.train(selector, plan, epoch)
        selector.end_epoch(no_score)
    facts = selector.facts()
    assert facts["gate_share"] == pytest.approx(sum(shares) / sum(weights))
    assert facts["gate_target"] == pytest.approx(sum(targets) / sum(weights))
    if isinstance(controller, PI):
        assert facts["bound"] is None
    else:
        assert abs(facts["gate_share"] - facts["gate_target"]) <= facts["bound"]
    # Facts survive a checkpoint.
    other = make(2017, 64, controller=controller)
    other.load_state_dict(selector.state_dict())
    assert other.facts() == facts


def test_state_holds_plain_values():
    selector, world = make(pick="proportional", reweight=True), World(997)
    run(selector, world, [1.0, 0.3, 0.3])
    state = selector.state_dict()["method"]
    assert isinstance(state["carry"]["weights"], torch.Tensor)
    assert all(isinstance(v, (int, float)) for v in state["committed"]["statistics"].values())
