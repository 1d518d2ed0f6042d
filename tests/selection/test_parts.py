"""Dense, random, and the small parts: set-points, fallback, the sample history, hooks, random streams."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from selection_tools import batch_of, no_score, outputs_of, prepared, run

from ast_experiments.core.errors import UserError
from ast_experiments.selection.control.controller import NO_SCORES
from ast_experiments.selection.control.gates import Fallback
from ast_experiments.selection.control.sundew_comparison import SundewComparison
from ast_experiments.selection.history import SampleHistory
from ast_experiments.selection.hooks import check_hooks
from ast_experiments.selection.method import Method
from ast_experiments.selection.methods.dense import Dense
from ast_experiments.selection.methods.random import Random
from ast_experiments.selection.numeric import clip, exp, generator, where
from ast_experiments.selection.parts import Staged
from ast_experiments.selection.plan import Plan
from ast_experiments.selection.rate_schedule import RateSchedule


class Idle:
    """Nothing to train: `run` only plans and commits."""

    def train(self, *args):
        pass


def test_dense():
    one, other = prepared(Dense(), samples=1003), prepared(Dense(), samples=1003, seed=1)
    plans = run(one, Idle(), [1.0, 0.1, 1.0])
    for epoch, plan in enumerate(plans):
        assert plan.ids.dtype == np.int64
        assert sorted(plan.ids) == list(range(1003))
        assert (plan.offered, plan.load_batch, plan.keep_short, plan.batches) == (1003, 64, True, 16)
        assert plan.weights is None
        assert np.array_equal(plan.ids, one.plan(epoch, 1.0).ids)
        assert not np.array_equal(plan.ids, other.plan(epoch, 1.0).ids)
    assert len({plan.ids.tobytes() for plan in plans}) == 3


@settings(max_examples=40, deadline=None)
@given(target=st.floats(0.01, 0.9), samples=st.integers(100, 1200), batch_size=st.integers(1, 100))
def test_random_counts_are_exact_over_the_run(target, samples, batch_size):
    selector = prepared(Random(), samples=samples, batch_size=batch_size)
    reachable = samples // batch_size * batch_size >= target * samples + batch_size
    total = 0
    for epoch in range(20):
        (plan,) = run(selector, Idle(), [target], start=epoch)
        assert len(plan.ids) % batch_size == 0
        assert len(np.unique(plan.ids)) == len(plan.ids) <= samples
        assert plan.offered == samples
        assert not plan.keep_short
        total += len(plan.ids)
        if reachable:
            assert -1e-3 < target * samples * (epoch + 1) - total < batch_size
        else:
            assert total < target * samples * (epoch + 1) + 1e-3


def test_random_draws_anew_and_uniformly():
    selector = prepared(Random(), samples=400, batch_size=20)
    counts = np.zeros(400)
    for plan in run(selector, Idle(), [0.25] * 800):
        assert len(plan.ids) == 100
        counts[plan.ids] += 1
    # Without replacement within an epoch: chi-square with the variance of a draw of 100 of 400.
    statistic = ((counts - 200) ** 2 / (200 * 0.75)).sum() * 399 / 400
    assert abs(statistic - 399) < 4 * np.sqrt(2 * 399)


def test_random_seeds_epochs_and_warm_up():
    one, other = (prepared(Random(), samples=1003, seed=seed) for seed in (0, 1))
    a, b = run(one, Idle(), [0.3, 0.3, 1.0]), run(other, Idle(), [0.3, 0.3, 1.0])
    assert len({frozenset(p.ids.tolist()) for p in (*a[:2], *b[:2])}) == 4
    assert sorted(a[2].ids) == list(range(1003))
    assert a[2].keep_short
    assert np.array_equal(one.plan(7, 0.3).ids, one.plan(7, 0.3).ids)


def test_random_resumes():
    whole, begun, resumed = (prepared(Random(), samples=1003) for _ in range(3))
    expected = run(whole, Idle(), [0.37] * 12)
    run(begun, Idle(), [0.37] * 5)
    begun.plan(5, 0.37)
    resumed.load_state_dict(begun.state_dict())
    for got, wanted in zip(run(resumed, Idle(), [0.37] * 7, start=5), expected[5:], strict=True):
        assert np.array_equal(got.ids, wanted.ids)
    assert resumed.method.remainder.now == whole.method.remainder.now > 0


@pytest.mark.parametrize(
    ("setpoint", "epochs", "expected"),
    [
        (RateSchedule(0.4), 4, [0.4, 0.4, 0.4, 0.4]),
        (RateSchedule(0.4, warmup_epochs=2), 4, [1.0, 1.0, 0.4, 0.4]),
        (RateSchedule(0.6, 0.2), 3, [0.6, 0.6, 0.6]),
        (RateSchedule(0.6, None, "linear"), 3, [0.6, 0.6, 0.6]),
        (RateSchedule(0.6, 0.2, "linear"), 5, [0.6, 0.5, 0.4, 0.3, 0.2]),
        (RateSchedule(0.6, 0.2, "linear", 2), 5, [1.0, 1.0, 0.6, 0.4, 0.2]),
        (RateSchedule(0.2, 0.9, "linear", 1), 3, [1.0, 0.2, 0.9]),
        (RateSchedule(0.6, 0.2, "linear"), 1, [0.2]),
        (RateSchedule(0.6, 0.2, "linear", 1), 2, [1.0, 0.2]),
    ],
)
def test_setpoint(setpoint, epochs, expected):
    assert [setpoint.target(e, epochs) for e in range(epochs)] == pytest.approx(expected)


SCORES = [0.3, 0.9, 0.1, 0.7, 0.5]
KEYS = [0.2, 0.1, 0.9, 0.3, 0.8]


@pytest.mark.parametrize(
    ("fallback", "active", "expected", "used"),
    [
        (Fallback(), [], [2, 4], True),
        (Fallback(), [1], [1], False),
        (Fallback(rows=3), [], [2, 3, 4], True),
        (Fallback(rows=9), [], [0, 1, 2, 3, 4], True),
        (Fallback(by="top"), [], [1, 3], True),
        (Fallback(by="top", below=None), [1], [1, 3], True),
        (Fallback(by="top", below=None), [1, 3], [1, 3], False),
        (Fallback(by="top", rows=1, share=0.6, below=None), [1, 3], [1, 3, 4], True),
        (Fallback(by="top", rows=1, share=0.59, below=None), [1], [1, 3], True),
        (Fallback(below=3), [0, 1], [2, 4], True),
        (Fallback(below=0), [], [], False),
    ],
)
def test_fallback(fallback, active, expected, used):
    mask = torch.zeros(5, dtype=torch.bool)
    mask[active] = True
    after, flag = fallback.apply(mask, torch.tensor(SCORES), torch.tensor(KEYS))
    assert after.nonzero().squeeze(1).tolist() == expected
    assert bool(flag) is used
    assert mask.nonzero().squeeze(1).tolist() == active


@pytest.mark.parametrize(("rows", "least"), [(1, 1), (2, 2), (15, 2), (29, 2), (30, 3), (128, 12), (130, 13)])
def test_fallback_of_a_tenth(rows, least):
    fallback = Fallback(by="top", rows=2, share=0.1, below=None)
    scores = torch.arange(rows).flip(0).float()
    after, used = fallback.apply(torch.zeros(rows, dtype=torch.bool), scores, scores)
    assert bool(used)
    assert after.nonzero().squeeze(1).tolist() == list(range(least))
    enough = torch.arange(rows) < least
    assert not bool(fallback.apply(enough, scores, scores)[1])


def test_a_score_must_exceed_the_threshold():
    controller = SundewComparison(start=2.0, high=3.0)
    state = controller.begin_epoch(None, NO_SCORES, 0.5)
    passed = controller.gate(state, torch.tensor([1.0, 2.0, 3.0]), 0.5, np.random.default_rng(0))
    assert passed.mask.tolist() == [False, False, True]


def test_sample_history():
    table = SampleHistory(5)
    assert len(table) == 5
    assert table.unseen.all()
    table.record(torch.tensor([3, 1]), torch.tensor([0.5, 2.0], dtype=torch.float64))
    assert np.isnan(table.scores).all()
    table.commit(4)
    assert table.unseen.tolist() == [True, False, True, False, True]
    assert table.scores[[1, 3]].tolist() == [2.0, 0.5]
    table.record(torch.tensor([3]), torch.tensor([0.0]))
    table.record(torch.tensor([3]), torch.tensor([7.0]))

    copy = SampleHistory(5)
    copy.load_state_dict(table.state_dict())
    for t in (table, copy):
        t.commit(6)
        assert t.scores[[1, 3]].tolist() == t.losses[[1, 3]].tolist() == [2.0, 7.0]
        assert t.previous[3] == 0.5
        assert np.isnan(t.previous[[0, 1, 2, 4]]).all()
        assert t.last_epoch.tolist() == [-1, 4, -1, 6, -1]
        assert t.visits.tolist() == [0, 1, 0, 2, 0]
        t.commit(7)
        assert t.visits.tolist() == [0, 1, 0, 2, 0]
    with pytest.raises(ValueError, match="5 samples"):
        SampleHistory(6).load_state_dict(table.state_dict())


class Minimal(Method):
    def plan(self, epoch, target, history):
        return Plan(np.arange(4), 4, 2)


def test_hooks_pass_through_by_default():
    selector = prepared(Minimal(), samples=4, batch_size=2)
    batch, outputs = batch_of(range(4)), outputs_of(np.ones(4))
    assert selector.plan(0, 1.0).batches == 2
    assert list(selector.select(batch, no_score)) == [batch]
    assert selector.weigh(batch, outputs) is batch.weights is None
    selector.observe(batch, outputs)
    assert dict(selector.signals()) == dict(selector.facts()) == {}
    assert selector.scored_share(0.5) == 0
    assert selector.history.unseen.all()
    selector.end_epoch(no_score)
    assert selector.history.losses.tolist() == [1.0] * 4
    again = prepared(Minimal(), samples=4, batch_size=2)
    again.load_state_dict(selector.state_dict())
    assert again.history.losses.tolist() == [1.0] * 4


def test_a_method_without_history_records_nothing():
    selector = prepared(Random(), samples=4, batch_size=2)
    selector.plan(0, 1.0)
    selector.observe(batch_of(range(4)), outputs_of(np.ones(4)))
    selector.end_epoch(no_score)
    assert selector.history.unseen.all()
    assert selector.state_dict()["history"] == {}


def test_a_method_may_keep_its_own_score_and_state():
    class Doubled(Minimal):
        saved = ("seen",)

        def prepare(self):
            self.seen, self.epochs = torch.zeros(4), Staged(0)

        def plan(self, epoch, target, history):
            self.epochs.next = self.epochs.now + 1
            return super().plan(epoch, target, history)

        def score(self, batch, outputs):
            self.seen[batch.ids] += 1
            return 2 * outputs.losses

    selector, again = (prepared(Doubled(), samples=4, batch_size=2) for _ in range(2))
    for _ in range(2):
        selector.plan(0, 0.5)
    selector.observe(batch_of([1, 2]), outputs_of(np.ones(2)))
    again.load_state_dict(selector.state_dict())
    for each in (selector, again):
        each.plan(0, 0.5)
        each.end_epoch(no_score)
        assert each.method.epochs.now == 1
        assert each.method.seen.tolist() == [0, 1, 1, 0]
        np.testing.assert_array_equal(each.history.scores, [np.nan, 2, 2, np.nan])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "observes",
            lambda self, batch, outputs: None,
            r"observes: is no hook .* observe\(self, batch, outputs\)",
        ),
        ("end_epochs", lambda self: None, r"end_epochs: .* write end_epoch\(self, epoch\), or _end_epochs"),
        (
            "observe",
            lambda self, batch: None,
            r"observe: takes other .* write observe\(self, batch, outputs\)",
        ),
        ("plan", lambda self, epoch, target: None, r"plan: takes other .* write plan\(self, epoch, target, history\)"),
        ("signals", {}, r"signals: must be a method; write signals\(self\)"),
        ("permutation", lambda self, epoch: None, "permutation: is a helper of the base class"),
        ("ceiling", lambda self: 1.0, None),
        ("observe", lambda self, batch, outputs, more=None: None, None),
        ("observe", lambda *args: None, None),
    ],
)
def test_a_misspelt_or_misshapen_hook_is_an_error(name, value, message):
    made = type("Made", (Minimal,), {name: value})()
    if message is None:
        assert prepared(made).plan(0, 0.5).batches == 2
        return
    with pytest.raises(UserError, match=message):
        prepared(made)


def test_a_method_without_a_plan_is_an_error():
    with pytest.raises(UserError, match=r"has no method plan\(self, epoch, target, history\)"):
        check_hooks(type("Made", (Method,), {}))


@pytest.mark.parametrize(
    ("rows", "keep_short", "batches"),
    [(0, True, 0), (1, False, 0), (1, True, 1), (8, True, 2), (9, False, 2), (9, True, 3)],
)
def test_plan_batches(rows, keep_short, batches):
    assert Plan(np.arange(rows), rows, 4, keep_short=keep_short).batches == batches


def test_numbers_and_tensors_agree():
    for x in (-2.0, 0.3, 5.0):
        t = torch.tensor(x, dtype=torch.float64)
        assert clip(x, -1.0, 1.0) == clip(t, -1.0, 1.0).item()
        assert exp(x) == pytest.approx(exp(t).item(), rel=1e-14)
        assert where(x > 0, 1.0, 2.0) == where(t > 0, 1.0, 2.0).item()


def test_random_streams_are_functions_of_seed_and_key():
    draws = [generator(*key).random() for key in ((0, 1, 2), (0, 1, 2), (0, 1, 3), (0, 2, 2), (1, 1, 2))]
    assert draws[0] == draws[1]
    assert len(set(draws)) == 4
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    generator(0, 1).random(100)
    assert np.array_equal(before, np.random.get_state()[1])
