"""Plans are pure, frozen within an epoch, different by seed, and survive a checkpoint."""

import io

import numpy as np
import pytest
import torch
from selection_tools import World, no_score, prepared, run

from ast_experiments.selection.control.pi import PI
from ast_experiments.selection.control.quantile import Quantile
from ast_experiments.selection.control.sundew_comparison import SundewComparison
from ast_experiments.selection.control.sundew_report import SundewReport
from ast_experiments.selection.methods.ast import AST
from ast_experiments.selection.significance.loss import loss

SAMPLES, BATCH = 1003, 48
WAYS = [
    (PI(), "threshold"),
    (Quantile(), "threshold"),
    (SundewReport(), "threshold"),
    (SundewComparison(), "threshold"),
    (PI(), "topk"),
]


def make(controller, pick, seed=0):
    selector = AST(controller, loss, pick=pick)
    return prepared(selector, samples=SAMPLES, batch_size=BATCH, seed=seed)


def same(a, b):
    assert np.array_equal(a.ids, b.ids)
    assert a.offered == b.offered
    assert np.array_equal(a.offered_by_batch, b.offered_by_batch)
    assert a.trace.keys() == b.trace.keys()
    assert all(np.array_equal(a.trace[key], b.trace[key]) for key in a.trace)


@pytest.mark.parametrize(("controller", "pick"), WAYS)
def test_planning_again_gives_the_same_plan(controller, pick):
    selector, world = make(controller, pick), World(SAMPLES)
    for epoch in range(8):
        first = selector.plan(epoch, 0.35)
        same(first, selector.plan(epoch, 0.35))
        world.train(selector, first, epoch, slice(0, 3))
        # Scores are frozen: what was observed on the way does not matter before the end of the epoch.
        same(first, selector.plan(epoch, 0.35))
        world.train(selector, first, epoch, slice(3, None))
        same(first, selector.plan(epoch, 0.35))
        selector.end_epoch(no_score)
        assert not np.array_equal(first.ids, selector.plan(epoch + 1, 0.35).ids)


def test_planning_commits_nothing():
    planned_twice, planned_once = make(PI(), "threshold"), make(PI(), "threshold")
    worlds = World(SAMPLES), World(SAMPLES)
    for epoch in range(6):
        planned_twice.plan(epoch, 0.9)
        a, b = planned_twice.plan(epoch, 0.35), planned_once.plan(epoch, 0.35)
        same(a, b)
        for selector, world, plan in zip((planned_twice, planned_once), worlds, (a, b), strict=True):
            world.train(selector, plan, epoch)
            selector.end_epoch(no_score)


@pytest.mark.parametrize("stop", [1, 6, 11])
@pytest.mark.parametrize(("controller", "pick"), WAYS)
def test_resuming_in_the_middle_of_an_epoch(controller, pick, stop):
    targets = np.linspace(0.6, 0.2, 16).tolist()
    whole, begun, resumed = (make(controller, pick) for _ in range(3))
    world, other = World(SAMPLES), World(SAMPLES)
    expected = run(whole, world, targets)

    run(begun, other, targets[:stop])
    plan = begun.plan(stop, targets[stop])
    other.train(begun, plan, stop, slice(0, 2))
    file = io.BytesIO()
    torch.save(begun.state_dict(), file)
    file.seek(0)
    resumed.load_state_dict(torch.load(file, weights_only=True))

    again = resumed.plan(stop, targets[stop])
    same(again, expected[stop])
    other.train(resumed, again, stop, slice(2, None))
    resumed.end_epoch(no_score)
    for got, wanted in zip(run(resumed, other, targets[stop + 1 :], stop + 1), expected[stop + 1 :], strict=True):
        same(got, wanted)
    a, b = resumed.state_dict(), whole.state_dict()
    for column, values in a["history"].items():
        np.testing.assert_array_equal(values, b["history"][column])
    a_carried, b_carried = (state["method"].pop("carry") for state in (a, b))
    assert all(torch.equal(a_carried[key], b_carried[key]) for key in ("ids", "weights"))
    a_trust, b_trust = (state["method"].pop("trust") for state in (a, b))
    assert torch.equal(a_trust["chances"], b_trust["chances"])
    assert a["method"] == b["method"]


@pytest.mark.parametrize("pick", ["threshold", "topk"])
def test_state_is_a_copy(pick):
    selector, world = make(PI(), pick), World(SAMPLES)
    run(selector, world, [0.5] * 4)
    state = selector.state_dict()
    carried, scores = state["method"]["carry"]["ids"], state["history"]["scores"]
    copies = carried.clone(), scores.clone()
    run(selector, world, [0.5] * 2, start=4)
    assert torch.equal(carried, copies[0])
    assert torch.equal(scores.nan_to_num(-1), copies[1].nan_to_num(-1))


@pytest.mark.parametrize("pick", ["threshold", "topk"])
def test_seeds_give_different_plans(pick):
    one, other = make(PI(), pick), make(PI(), pick, seed=1)
    for epoch, (a, b) in enumerate(
        zip(run(one, World(SAMPLES), [0.4] * 6), run(other, World(SAMPLES), [0.4] * 6), strict=True)
    ):
        assert not np.array_equal(a.ids, b.ids), epoch
        assert set(a.ids) != set(b.ids), epoch


def test_exploration_differs_by_epoch_and_seed():
    losses = np.linspace(1, 2, SAMPLES)

    def picks(seed):
        selector = make(PI(), "topk", seed)
        world = World(SAMPLES)
        world.losses = lambda ids, epoch: losses[ids]
        plans = run(selector, world, [1.0, 0.2, 0.2])
        return [frozenset(p.ids[p.ids < 700]) for p in plans[1:]]

    assert len({*picks(0), *picks(1)}) == 4


def test_a_table_of_another_size_is_refused():
    small = prepared(AST(PI(), loss), samples=100, batch_size=10)
    with pytest.raises(ValueError, match="1003"):
        small.load_state_dict(make(PI(), "topk").state_dict())
