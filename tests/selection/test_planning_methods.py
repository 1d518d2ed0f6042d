"""Methods that plan before loading do what their definitions say: plain implementations, and formulas."""

import itertools
import math
from bisect import bisect_left

import numpy as np
import pytest
from planning_methods import RATED, Lab, built, falling

from ast_experiments.selection.batching import Remainder, rounded
from ast_experiments.selection.clustering import kmeans_cuts
from ast_experiments.selection.methods.selective_backprop import SelectiveBackprop, keep_probabilities
from ast_experiments.selection.numeric import generator

SAMPLES, BATCH, EPOCHS = 517, 32, 40


def lab(name, **settings):
    settings = {"samples": SAMPLES, "batch_size": BATCH, "epochs": EPOCHS, **settings}
    return Lab(built(name), settings.pop("losses", falling(settings["samples"])), **settings)


def orders(seed=0, purpose=1, samples=SAMPLES):
    for epoch in itertools.count():
        yield generator(seed, purpose, epoch).permutation(samples).tolist()


# --- plain implementations: each yields (ids, learning rate factor) of an epoch, then the ids scored at its end


def plain_rs2(lab, target):
    stream = itertools.chain.from_iterable(orders(purpose=2))
    done = 0
    for epoch in range(1, EPOCHS + 1):
        rows = math.floor(target * SAMPLES * epoch / BATCH + 1e-9) * BATCH - done
        done += rows
        yield list(itertools.islice(stream, rows)), 1.0
        yield []


def plain_curriculum(lab, target):
    due = done = 0
    for epoch, order in zip(range(EPOCHS), orders(), strict=False):
        share = 0.2 + 0.8 * (epoch / EPOCHS) / 0.5
        if share >= 1 - 1e-9:
            yield order, 1.0
            yield []
            continue
        due += share * SAMPLES
        rows = math.floor(due / BATCH + 1e-9) * BATCH - done
        done += rows
        easiest = set(sorted(order, key=lambda i: lab.last.get(i, math.inf))[:rows])
        yield [i for i in order if i in easiest], 1.0
        yield sorted(set(order) - easiest) if epoch == 0 else []


def plain_orderdp(lab, target):
    done = 0
    for epoch, order in zip(range(1, EPOCHS + 1), orders(), strict=False):
        rows = math.floor(0.75 * 0.85 * SAMPLES * epoch / BATCH + 1e-9) * BATCH - done
        done += rows
        drawn = order[: round(0.75 * SAMPLES)]
        hardest = set(sorted(drawn, key=lambda i: -lab.last.get(i, math.inf))[:rows])
        yield [i for i in drawn if i in hardest], 1.0
        yield []


def plain_loss_drop(lab, target):
    due, seen = 0.0, [[] for _ in range(SAMPLES)]
    for epoch, order in zip(range(EPOCHS), orders(), strict=False):
        due += target * SAMPLES
        rows = math.floor(due + 1e-6) // BATCH * BATCH
        due -= rows
        drops = [losses[-2] - losses[-1] if len(losses) > 1 else math.inf for losses in seen]
        fell = set(sorted(order, key=lambda i: -drops[i])[:rows])
        yield [i for i in order if i in fell], 1.0
        for i in fell:
            seen[i].append(np.float32(lab.losses(i, epoch)))
        yield []


def plain_selective_backprop(lab, target):
    waiting, beta = [], 1 / target - 1
    for epoch, order in zip(range(EPOCHS), orders(), strict=False):
        offered = [i for i in order if i not in waiting]
        chances = generator(0, 2, epoch).random(len(offered)).tolist()
        picked, losses = [], sorted(lab.last.get(i, 0.0) for i in offered)
        for i, chance in zip(offered, chances, strict=True):
            below = bisect_left(losses, lab.last.get(i, 0.0))
            p = ((below + 0.5) / len(offered)) ** beta if epoch else target
            picked += [i] if chance < p else []
        queue = waiting + picked
        rows = len(queue) // BATCH * BATCH
        waiting = queue[rows:]
        yield queue[:rows], 1.0
        yield sorted(set(range(SAMPLES)) - set(queue[:rows])) if epoch % 3 == 0 and epoch < EPOCHS - 1 else []


def plain_kakurenbo(lab, target):
    waiting = []
    for epoch, order in zip(range(EPOCHS), orders(), strict=False):
        share = 0.3 * next(f for start, f in ((0.8, 0.4), (0.6, 0.6), (0.3, 0.8), (0, 1.0)) if epoch >= start * EPOCHS)
        offered = [i for i in order if i not in waiting]
        lowest = sorted(offered, key=lambda i: lab.last.get(i, math.inf))[: math.floor(share * len(offered) + 1e-9)]
        hidden = {i for i in lowest if i in lab.last and i % 7 and math.exp(-lab.last[i]) >= 0.7}
        queue = waiting + [i for i in offered if i not in hidden]
        rows = len(queue) // BATCH * BATCH if hidden else len(queue)
        waiting = queue[rows:]
        yield queue[:rows], 1 / (1 - len(hidden) / len(offered))
        yield sorted(hidden) if epoch < EPOCHS - 1 else []


PLAIN = {
    "rs2": plain_rs2,
    "curriculum": plain_curriculum,
    "orderdp": plain_orderdp,
    "loss_drop": plain_loss_drop,
    "selective_backprop": plain_selective_backprop,
    "kakurenbo": plain_kakurenbo,
}


@pytest.mark.parametrize("name", PLAIN)
def test_the_plans_are_those_of_a_plain_implementation(name):
    target = 0.37 if name in RATED else 1.0
    made = lab(name, wrong=range(0, SAMPLES, 7))
    plain = PLAIN[name](made, target)
    for epoch in range(EPOCHS):
        plan, (ids, factor) = made.selector.plan(epoch, target), next(plain)
        assert plan.ids.tolist() == ids, epoch
        assert plan.lr_scale == pytest.approx(factor)
        assert plan.weights is None
        made.train(plan)
        expected = next(plain)
        made.close()
        assert sorted(made.scored[-1]) == expected, epoch


def test_rs2_visits_all_samples_equally_often():
    visits = np.zeros(SAMPLES, dtype=int)
    made = lab("rs2")
    for plan in made.run(EPOCHS, 0.37):
        np.add.at(visits, plan.ids, 1)
        assert visits.max() - visits.min() <= 1
    (dense,) = made.run(1, 1.0)
    assert sorted(dense.ids) == list(range(SAMPLES))


def picks(plans):
    """(picked, offered) rows of each plan; rows that wait count where they were picked."""
    return [
        (len(p.ids), p.offered) if p.offered_by_batch is None else (p.trace["picked"].sum(), p.offered) for p in plans
    ]


def test_infobatch_drops_half_of_the_samples_below_the_mean():
    made = lab("infobatch")
    kept = low = 0.0
    for epoch in range(EPOCHS):
        before, waiting = dict(made.last), made.selector.state_dict()["method"]["carry"]["ids"].tolist()
        (plan,) = made.run(1)
        if epoch == 0 or epoch >= 0.875 * EPOCHS:
            assert plan.weights is None
            assert sorted(plan.ids) == list(range(SAMPLES))
            continue
        mean = np.mean(list(before.values()))
        easy = {i for i, loss in before.items() if loss < mean} - set(waiting)
        head = len(waiting)
        assert plan.ids[:head].tolist() == waiting
        left = made.selector.state_dict()["method"]["carry"]["ids"].tolist()
        picked = plan.ids[head:].tolist() + left
        assert set(range(SAMPLES)) - easy - set(waiting) <= set(picked)
        assert len(picked) == len(set(picked))
        assert not set(waiting) & set(picked)
        assert plan.weights.dtype == np.float32
        assert [w == 2.0 for w in plan.weights[head:]] == [i in easy for i in plan.ids[head:].tolist()]
        assert set(plan.weights.tolist()) == {1.0, 2.0}
        assert abs(sum(i in easy for i in picked) - len(easy) / 2) < 1
        kept += sum(i in easy for i in picked)
        low += len(easy)
    assert kept / low == pytest.approx(0.5, abs=0.002)


def test_infobatch_counts_dropped_rows_as_weight_zero():
    made = lab("infobatch", samples=4000, losses=lambda ids, epoch: 1.0 + ids % 5)
    made.run(1)
    plans = made.run(20)
    rows, offered = (sum(column) for column in zip(*picks(plans), strict=True))
    # Two in five samples lie below the mean: 0.8 of the rows are trained, and the weights of all rows average 1.
    assert rows / offered == pytest.approx(1 - 0.5 * 0.4, abs=0.001)
    assert sum(p.weights.sum() for p in plans) / offered == pytest.approx(1.0, abs=0.003)
    trained = 4000 + sum(len(p.ids) for p in plans)
    expected = (4000 + sum(p.weights.sum() for p in plans)) / trained
    assert made.selector.facts() == {"mean_weight": pytest.approx(expected)}


@pytest.mark.parametrize("epochs", [30, 50, 90, 100])
def test_the_final_phase_begins_by_progress(epochs):
    begin = math.ceil(0.875 * epochs)
    small = {"samples": 150, "epochs": epochs, "losses": lambda ids, epoch: 2.0 ** (ids % 5)}
    plans = lab("infobatch", **small).run(epochs)
    assert [p.weights is None for p in plans] == [e == 0 or e >= begin for e in range(epochs)]
    for plan in plans[begin:]:
        assert sorted(plan.ids) == list(range(150))
    # SeTa leaves one group of five out, in turn the hardest and the easiest, until then.
    groups = [set(p.ids[BATCH:] % 5) for p in lab("seta", **small).run(epochs)]
    expected = [{0, 1, 2, 3, 4}] * epochs
    expected[1:begin] = [{1, 2, 3, 4} if e % 2 else {0, 1, 2, 3} for e in range(1, begin)]
    # What waited may be of a group of the epoch before; the first batch holds it.
    assert [g <= e for g, e in zip(groups, expected, strict=True)] == [True] * epochs
    assert all(groups[e] == expected[e] for e in range(begin, epochs))


@pytest.mark.parametrize("epochs", [30, 50, 90, 100])
@pytest.mark.parametrize("warmup", [0.0, 5.0])
def test_kakurenbo_hides_less_and_less(epochs, warmup):
    method = lab("kakurenbo", epochs=epochs, warmup=warmup).selector.method
    shares = [round(method.ceiling(e), 9) for e in range(epochs)]
    lengths = {share: len(list(run)) for share, run in itertools.groupby(shares)}
    assert lengths == {0.3: 0.3 * epochs, 0.24: 0.3 * epochs, 0.18: 0.2 * epochs, 0.12: 0.2 * epochs}


def test_kakurenbo_reports_what_it_hid():
    made = lab("kakurenbo")
    made.run(EPOCHS)
    hidden = sum(len(ids) for ids in made.scored)
    shares = [1 - 1 / p.lr_scale for p in lab("kakurenbo").run(EPOCHS)]
    assert shares[0] == 0
    assert max(shares) <= 0.3
    assert hidden > 0
    # The samples hidden in the last epoch are not scored.
    assert made.selector.facts()["mean_hidden_share"] == pytest.approx(np.mean(shares), rel=0.05)
    assert hidden / SAMPLES / EPOCHS <= made.selector.scored_share(1.0)


# Losses in five well separated groups; the shares of the samples that they hold are 0.4 0.1 0.1 0.1 0.3.
GROUP = np.array([0, 0, 0, 0, 1, 2, 3, 4, 4, 4])


OWN_RATES = {
    "dense": (0, 1.0),
    "orderdp": (0, 0.75 * 0.85),
    "curriculum": (0, (sum(0.2 + 0.8 * e / 20 for e in range(20)) + 20) / 40),
    # 0.9 are drawn; in turn the group with 0.4 and that with 0.3 of them is left out.
    "seta": (3, 0.9 * (1 - (0.4 + 0.3) / 2)),
    # Below the mean loss of 5.4 are 0.6 of the samples.
    "infobatch": (1, 1 - 0.5 * 0.6),
}
"""Rates that follow from settings and losses: epochs to leave out before, and the mean of those after."""


@pytest.mark.parametrize(
    ("name", "target"), [*itertools.product(RATED, (0.1, 0.4, 0.7)), *((name, 1.0) for name in OWN_RATES)]
)
def test_the_mean_rate_is_the_target_or_that_of_the_formula(name, target):
    made = lab(name, samples=3000, losses=lambda ids, epoch: np.array([1.0, 2, 4, 8, 12])[GROUP[ids % 10]] + 1e-5 * ids)
    first, expected = OWN_RATES.get(name, (0, target))
    made.run(first)
    epochs = 32 if name in ("seta", "infobatch") else 40
    picked, offered = (sum(column) for column in zip(*picks(made.run(epochs, target)), strict=True))
    # By chance, if each row is drawn by itself.
    tolerance = 4 * math.sqrt(target * (1 - target) / offered)
    assert picked / offered == pytest.approx(expected, abs=max(tolerance, BATCH / offered, 0.002))


@pytest.mark.parametrize("rate", [0.1, 0.4, 0.7, 1.0])
@pytest.mark.parametrize("losses", [np.arange(1000.0), np.zeros(1000), np.random.default_rng(0).lognormal(size=1000)])
def test_selective_backprop_keeps_by_the_power_of_the_distribution_function(rate, losses):
    kept, beta = keep_probabilities(losses, rate), 1 / rate - 1
    assert kept.mean() == pytest.approx(1 / (1 + beta), abs=1e-3)
    if len(set(losses.tolist())) > 1:
        below = [(losses < x).mean() + 0.0005 for x in losses]
        np.testing.assert_allclose(kept, np.power(below, beta))


def test_selective_backprop_scores_what_its_share_says():
    made = lab("selective_backprop", samples=4000, epochs=31)
    made.run(31, 0.4)
    assert [len(ids) > 0 for ids in made.scored] == [e % 3 == 0 and e < 30 for e in range(31)]
    share = SelectiveBackprop(fresh_every=3).scored_share(0.4)
    assert np.mean([len(ids) / 4000 for ids in made.scored[:30]]) == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize(("groups", "seed"), [(1, 0), (2, 0), (3, 1), (5, 2), (5, 3)])
def test_groups_are_those_of_k_means(groups, seed):
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.normal(10.0 * g, 1.0, 40 + 10 * g) for g in range(groups)]).astype(np.float32)
    at = kmeans_cuts(values, groups)
    assert np.searchsorted(at, values).tolist() == [g for g in range(groups) for _ in range(40 + 10 * g)]
    # On any values: every one is nearest to the mean of its own group.
    values = rng.lognormal(size=500)
    label = np.searchsorted(kmeans_cuts(values, groups), values)
    centres = np.array([values[label == g].mean() for g in range(groups)])
    assert np.abs(values[:, None] - centres).argmin(axis=1).tolist() == label.tolist()


@pytest.mark.parametrize("values", [[3.0], [1.0, 1.0, 1.0], [1.0, 2.0]])
def test_fewer_values_than_groups(values):
    at = kmeans_cuts(np.array(values), 5)
    assert at.shape == (4,)
    assert (at[1:] >= at[:-1]).all()
    made = lab("seta", losses=lambda ids, epoch: np.full(len(ids), values[0]))
    for plan in made.run(5)[1:]:
        assert len(plan.ids) > 0.8 * SAMPLES


def test_counts_do_not_drift():
    rng = np.random.default_rng(0)
    assert np.mean([rounded(2.3, rng) for _ in range(20_000)]) == pytest.approx(2.3, abs=0.02)
    assert {rounded(4.0, rng) for _ in range(100)} == {4}
    remainder, total = Remainder(64), 0
    for epoch in range(1, 50):
        rows = remainder.full_batches(0.05, 300)
        remainder.commit(epoch)
        total += rows
        assert rows % 64 == 0
        assert 0 <= 15 * epoch - total < 64
        assert remainder.now == pytest.approx(15 * epoch - total)
