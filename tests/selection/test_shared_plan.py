"""Rank 0 plans for all ranks: the others train their rows of the plan that one process makes, and hold no history."""

import numpy as np
import pytest
from planning_methods import METHODS, Lab, built, falling, target_of
from rank_tools import on_ranks

from ast_experiments.core import distributed
from ast_experiments.selection.history import COLUMNS
from ast_experiments.selection.methods.random import Random

ON_RANK_0 = [name for name in METHODS if built(name).planned_on_rank_0]
SAMPLES, EPOCHS = 331, 5


def lab(name: str, **settings) -> Lab:
    return Lab(built(name, **settings), falling(SAMPLES), samples=SAMPLES, batch_size=30, epochs=20)


def planned(at: Lab, name: str):
    """The next epoch's plan, the rows that this rank trains of it, and what the epoch leaves behind."""
    plan = at.selector.plan(at.epoch, target_of(name))
    own = plan.shard(distributed.rank(), distributed.size())
    at.train(own)
    at.close()
    return plan, own


def test_most_methods_are_planned_once():
    assert set(METHODS) - set(ON_RANK_0) == {"kakurenbo"}


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize(
    ("name", "settings"), [*((name, {}) for name in ON_RANK_0), ("ast", {"pick": "proportional", "reweight": True})]
)
def test_ranks_train_the_plan_of_one_process(monkeypatch, name, settings, size):
    alone = lab(name, **settings)
    whole = [planned(alone, name)[0] for _ in range(EPOCHS)]

    def work(rank):
        at = lab(name, **settings)
        plans = [planned(at, name) for _ in range(EPOCHS // 2)]
        again = lab(name, **settings)  # another process, which goes on from the checkpoint of this rank
        again.selector.load_state_dict(at.selector.state_dict())
        again.epoch = at.epoch
        return [*plans, *(planned(again, name) for _ in range(EPOCHS - EPOCHS // 2))], again.selector.history

    with monkeypatch.context() as patch:
        parts = on_ranks(patch, size, work)
    for epoch, plan in enumerate(whole):
        for rank, (plans, _) in enumerate(parts):
            found, own = plans[epoch]
            expected = plan.shard(rank, size)
            np.testing.assert_array_equal(own.ids, expected.ids)
            np.testing.assert_array_equal(own.weights, expected.weights)
            assert (found.rows, found.batch_sizes, found.lr_scale) == (plan.rows, plan.batch_sizes, plan.lr_scale)
            assert [*map(found.offered_by, range(found.batches))] == [*map(plan.offered_by, range(plan.batches))]
            assert found.trace.keys() == plan.trace.keys()
            assert len(found.ids) == (plan.rows if rank == 0 else len(own.ids))
    for rank, (_, history) in enumerate(parts):
        if rank == 0:
            for column in COLUMNS:
                np.testing.assert_array_equal(getattr(history, column), getattr(alone.selector.history, column))
        else:
            assert not vars(history).keys() & set(COLUMNS)


def test_a_hook_that_may_use_the_plan_makes_every_rank_plan(monkeypatch):
    class Looking(Random):
        def signals(self):
            return {"rows": self.planned.rows}

    def work(rank):
        at = Lab(Looking(), falling(SAMPLES), samples=SAMPLES)
        return at.selector.plan(0, 0.4), at.selector.history.unseen.all()

    plans = on_ranks(monkeypatch, 2, work)
    assert all(plan.whole is None and unseen for plan, unseen in plans)
    np.testing.assert_array_equal(plans[0][0].ids, plans[1][0].ids)


def test_a_rank_without_a_history_says_so(monkeypatch):
    def work(rank):
        at = lab("random")
        at.selector.plan(0, 0.4)
        if rank == 0:
            return at.selector.history.unseen.all()
        with pytest.raises(RuntimeError, match="planned_on_rank_0 = False"):
            _ = at.selector.history.scores
        return True

    assert on_ranks(monkeypatch, 2, work) == [True, True]
