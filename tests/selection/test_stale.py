"""Epochs planned from stale scores: counts, order, rates."""

import numpy as np
import pytest
from selection_tools import World, batch_of, chunks, no_score, outputs_of, prepared, run

from ast_experiments.selection.control.pi import PI
from ast_experiments.selection.control.quantile import Quantile
from ast_experiments.selection.control.sundew_comparison import SundewComparison
from ast_experiments.selection.control.sundew_report import SundewReport
from ast_experiments.selection.methods.ast import AST
from ast_experiments.selection.significance.loss import loss

SAMPLES, BATCH, EPOCHS = 2017, 64, 60


def make(controller=None, samples=SAMPLES, batch_size=BATCH, seed=0, **settings):
    selector = AST(controller or PI(), loss, **settings)
    return prepared(selector, samples=samples, batch_size=batch_size, seed=seed)


def carried_by(selector):
    return selector.state_dict()["method"]["carry"]["ids"].numpy()


def check_plan(plan, carried, samples=SAMPLES):
    """What holds for every epoch below rate 1."""
    assert plan.ids.dtype == np.int64
    assert len(np.unique(plan.ids)) == len(plan.ids)
    assert len(plan.ids) == 0 or (plan.ids.min() >= 0 and plan.ids.max() < samples)
    assert len(plan.ids) % plan.load_batch == 0
    assert plan.batches * plan.load_batch == len(plan.ids)
    assert plan.offered == samples - len(carried)
    assert np.array_equal(plan.ids[: len(carried)], carried[: len(plan.ids)])
    assert len(plan.offered_by_batch) == plan.batches
    assert (np.diff(plan.offered_by_batch) >= 0).all()
    if plan.batches:
        assert plan.offered_by_batch[-1] == plan.offered


@pytest.mark.parametrize("controller", [PI(), Quantile()])
@pytest.mark.parametrize("target", [0.1, 0.4])
@pytest.mark.parametrize("pick", ["threshold", "topk"])
def test_sixty_epochs(pick, target, controller):
    selector, world = make(controller, pick=pick), World(SAMPLES)
    picked, offered, wanted, control_epochs = [], [], 0.0, 0
    for epoch in range(EPOCHS):
        carried = carried_by(selector)
        plan = selector.plan(epoch, target)
        check_plan(plan, carried)
        controlled = "control/threshold" in plan.trace
        if controlled:
            control_epochs += 1
            # Nothing is left to see but what waits at the head of this plan.
            assert set(np.flatnonzero(selector.history.unseen)) <= set(carried)
            assert all(len(v) == plan.batches for v in plan.trace.values())
            assert all(np.isfinite(v).all() for v in plan.trace.values())
        else:
            assert selector.state_dict()["method"]["committed"]["control"] is None
        world.train(selector, plan, epoch)
        selector.end_epoch(no_score)
        waiting = carried_by(selector)
        assert len(waiting) < BATCH
        assert not set(waiting) & set(plan.ids)
        # What was picked this epoch: loaded now or waiting, without what had waited before.
        picked.append(len(plan.ids) + len(waiting) - len(carried))
        if plan.batches:
            assert plan.trace["picked"].sum() == picked[-1]
        offered.append(plan.offered)
        wanted += target * plan.offered
        if pick == "topk" or not controlled:
            assert abs(sum(picked) - wanted) < 1 + 1e-6
    if pick == "topk":
        assert control_epochs == 0
        return
    first = EPOCHS - control_epochs
    assert 1 / target - 1 <= first <= 1 / target + 2
    rate = sum(picked[first:]) / sum(offered[first:])
    assert rate == pytest.approx(target, abs=0.01)
    if isinstance(controller, Quantile):
        windows = sum(n // 32 for n in offered[first:])
        assert abs(rate - target) <= controller.guarantee_bound(windows, 32 * windows) + 1e-3


def test_every_sample_is_seen_before_any_is_seen_twice():
    selector, world = make(), World(SAMPLES)
    for epoch in range(3):
        plan = selector.plan(epoch, 0.25)
        world.train(selector, plan, epoch)
        selector.end_epoch(no_score)
        assert world.visits.max() == 1


@pytest.mark.parametrize("pick", ["threshold", "topk"])
def test_linear_set_point_is_followed(pick):
    selector, world = make(pick=pick), World(SAMPLES)
    targets = np.linspace(0.6, 0.2, EPOCHS)
    plans = run(selector, world, targets)
    rates = np.array([len(p.ids) / p.offered for p in plans])
    assert np.abs(rates - targets)[4:].max() < 0.06  # one batch is 0.03
    assert (rates - targets)[4:].mean() == pytest.approx(0, abs=0.01)


def test_warm_up_and_final_phase_hold_everything_exactly_once():
    selector, world = make(), World(SAMPLES)
    everything = list(range(SAMPLES))
    for plan in run(selector, world, [1.0, 1.0]):
        assert sorted(plan.ids) == everything
        assert plan.keep_short
        assert plan.offered == SAMPLES
        assert "control/threshold" not in plan.trace
    run(selector, world, [0.3] * 5, start=2)
    carried = carried_by(selector)
    assert len(carried)
    before = selector.state_dict()["method"]["committed"]["control"]
    plan = selector.plan(7, 1.0)
    assert sorted(plan.ids) == everything
    assert np.array_equal(plan.ids[: len(carried)], carried)
    world.train(selector, plan, 7)
    selector.end_epoch(no_score)
    assert len(carried_by(selector)) == 0
    assert selector.state_dict()["method"]["committed"]["control"] == before


def test_control_starts_at_once_after_a_dense_warm_up():
    selector, world = make(), World(SAMPLES)
    plans = run(selector, world, [1.0, 0.3, 0.3])
    assert ["control/threshold" in p.trace for p in plans] == [False, True, True]
    # Bumpless: already the first epoch has the rate.
    assert len(plans[1].ids) / plans[1].offered == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("controller", [PI(), Quantile()])
def test_control_starts_at_the_quantile_of_the_gates_own_target(controller):
    selector = make(controller, exploration=0.5)
    run(selector, World(SAMPLES), [1.0])
    scores = selector.history.scores
    for target in (0.2, 0.6):
        threshold = selector.plan(1, target).trace["control/threshold"][0]
        # The trace begins a few windows in; the first windows move the threshold a little.
        gate = (scores > threshold).mean()
        assert gate == pytest.approx(target / 2, abs=0.06)


def test_exploration_share():
    for exploration in (0.0, 0.3, 1.0):
        selector, world = make(exploration=exploration, pick="threshold"), World(SAMPLES)
        run(selector, world, [1.0])
        explored = passed = offered = 0
        for epoch in range(1, 31):
            plan = selector.plan(epoch, 0.4)
            carried = carried_by(selector)
            if exploration < 1:
                explored += int((selector.history.scores[plan.ids] < plan.trace["control/threshold"].min()).sum())
            world.train(selector, plan, epoch)
            selector.end_epoch(no_score)
            passed += len(plan.ids) + len(carried_by(selector)) - len(carried)
            offered += plan.offered
        assert passed / offered == pytest.approx(0.4, abs=0.01)
        if exploration == 0.0:
            # Only carried rows, picked under the threshold of the epoch before.
            assert explored < 0.01 * passed
        elif exploration == 0.3:
            assert explored / passed == pytest.approx(0.3, abs=0.06)
        else:
            assert abs(passed - 0.4 * offered) < 1


def test_topk_is_the_exact_top_share():
    selector = make(pick="topk", exploration=0.0, samples=200, batch_size=20)
    world = World(200)
    run(selector, world, [1.0])
    plan = selector.plan(1, 0.3)
    best = np.argsort(-selector.history.scores, kind="stable")[:60]
    assert set(plan.ids) == set(best)
    half = make(pick="topk", exploration=0.5, samples=200, batch_size=20)
    run(half, World(200), [1.0])
    plan = half.plan(1, 0.3)
    assert set(best[:30]) < set(plan.ids)
    assert len(plan.ids) == 60
    assert set(plan.ids) != set(best)


@pytest.mark.parametrize("pick", ["threshold", "topk"])
def test_epochs_that_fill_no_batch_accumulate(pick):
    samples, batch, target = 300, 64, 0.05  # 15 rows an epoch
    selector, world = make(pick=pick, samples=samples, batch_size=batch), World(samples)
    run(selector, world, [1.0])
    loaded, offered = [], 0
    for epoch in range(1, 81):
        carried = carried_by(selector)
        plan = selector.plan(epoch, target)
        check_plan(plan, carried, samples)
        loaded.append(len(plan.ids))
        offered += plan.offered
        assert all(len(v) == plan.batches for v in plan.trace.values())
        world.train(selector, plan, epoch)
        selector.end_epoch(no_score)
    assert set(loaded) == {0, batch}
    assert (sum(loaded) + len(carried_by(selector))) / offered == pytest.approx(target, abs=0.01)


@pytest.mark.parametrize("controller", [SundewReport(), SundewComparison()])
def test_published_laws_run_on_stale_scores(controller):
    selector, world = make(controller), World(SAMPLES)
    for epoch in range(15):
        carried = carried_by(selector)
        plan = selector.plan(epoch, 0.3)
        check_plan(plan, carried)
        world.train(selector, plan, epoch)
        selector.end_epoch(no_score)


def test_picked_counts_the_rows_offered_since_the_batch_before():
    selector, world = make(), World(SAMPLES)
    run(selector, world, [1.0, 0.3, 0.3])
    carried = carried_by(selector)
    plan = selector.plan(3, 0.3)
    picked = plan.trace["picked"]
    # A batch ends with a picked row, so by then the queue holds exactly the batches so far; the last takes the rest.
    filled = np.arange(1, plan.batches) * BATCH - len(carried)
    assert np.cumsum(picked)[:-1].tolist() == filled.tolist()
    assert len(carried) > 0
    assert picked.sum() >= len(plan.ids) - len(carried)


def test_a_batch_of_all_samples():
    selector, world = make(samples=32, batch_size=32), World(32)
    loaded = [len(p.ids) for p in run(selector, world, [0.4] * 40)]
    assert set(loaded) == {0, 32}
    assert sum(loaded) > 0


def test_scores_are_those_of_the_last_visit():
    selector = make(samples=10, batch_size=5)
    plan = selector.plan(0, 1.0)
    for ids in chunks(plan):
        selector.observe(batch_of(ids), outputs_of(ids + 0.5))
    assert selector.history.unseen.all()
    selector.end_epoch(no_score)
    np.testing.assert_array_equal(selector.history.scores, np.arange(10) + 0.5)
