"""The best rows of larger loaded batches, and the narrow network that finds them."""

import dataclasses

import numpy as np
import pytest
import torch
from rank_tools import on_ranks
from selection_tools import batch_of, chunks, context, no_score, outputs_of

from ast_experiments.core import distributed
from ast_experiments.selection.large_batch import LargeBatches
from ast_experiments.selection.methods.proxy import Proxy
from ast_experiments.selection.proxy_model import ProxyNet
from ast_experiments.selection.selector import Selector


class Side:
    """Scores by a table; notes what it learned."""

    def __init__(self, losses, **settings):
        self.losses, self.settings, self.learned = losses, settings, []

    def learn(self, batch, progress):
        self.learned.append((batch.ids.tolist(), progress))

    def score(self, batch):
        return outputs_of(self.losses[batch.ids.numpy()])

    def state_dict(self):
        return {"learned": [list(row) for row in self.learned]}

    def load_state_dict(self, state):
        self.learned = [tuple(row) for row in state["learned"]]


LOSSES = np.random.default_rng(0).exponential(1.0, 1000).astype(np.float32)


def made(samples=1000, batch_size=32, epochs=4, seed=0, **settings):
    method = Proxy(**{"proxy_width": 0.5, "proxy_arch": None, "proxy_every": 4} | settings)
    given = context(samples=samples, batch_size=batch_size, epochs=epochs, seed=seed)
    return Selector(method, dataclasses.replace(given, auxiliary_model=lambda **s: Side(LOSSES, **s)))


def epoch_of(selector, epoch, target):
    trained = []
    for ids in chunks(selector.plan(epoch, target)):
        (batch,) = selector.select(batch_of(ids), no_score)
        trained.append((ids.tolist(), batch.ids.tolist(), batch.rows))
    selector.end_epoch(no_score)
    return trained


@pytest.mark.parametrize(("rate", "load"), [(0.5, 64), (0.4, 80), (0.1, 320), (0.9, 36), (0.35, 91)])
def test_the_largest_losses_of_each_larger_batch(rate, load):
    selector = made()
    for epoch in range(3):
        for offered, chosen, rows in epoch_of(selector, epoch, rate):
            assert len(offered) == load
            assert rows == 32
            assert sorted(chosen) == sorted(sorted(offered, key=lambda i: -LOSSES[i])[:32])
    plan = selector.plan(3, rate)
    assert 32 * plan.batches / plan.offered == pytest.approx(rate, abs=rate**2 / 64 + 1e-9)  # load is a whole number


def test_a_sample_that_was_left_over_is_the_first_of_the_next_epoch():
    selector, left = made(), set()
    for epoch in range(6):
        loaded = [i for offered, *_ in epoch_of(selector, epoch, 0.1) for i in offered]
        assert len(set(loaded)) == len(loaded) == 960
        assert set(loaded[: len(left)]) == left
        left = set(range(1000)) - set(loaded)
        assert len(left) == 40


@pytest.mark.parametrize("every", [1, 3, 4])
def test_it_learns_from_the_chosen_rows_of_every_few_batches(every):
    selector = made(proxy_every=every)
    chosen = [rows for epoch in range(2) for _, rows, _ in epoch_of(selector, epoch, 0.5)]
    side = selector.method._net._net
    assert [ids for ids, _ in side.learned] == chosen[::every]
    assert [p for _, p in side.learned] == pytest.approx([i / 15 / 4 for i in range(0, 30, every)])
    assert side.settings == {"width": 0.5, "arch": None, "size": None}


def test_dense_epochs_train_all_rows_and_those_that_waited_first():
    selector = made()
    first = epoch_of(selector, 0, 1.0)
    assert [len(rows) for _, rows, _ in first] == [32] * 31 + [8]
    assert len(selector.method._net._net.learned) == 8
    loaded = {i for offered, *_ in epoch_of(selector, 1, 0.1) for i in offered}
    dense = [i for _, rows, _ in epoch_of(selector, 2, 1.0) for i in rows]
    assert sorted(dense) == list(range(1000))
    assert set(dense[:40]) == set(range(1000)) - loaded
    assert len(loaded) == 960


def test_state_goes_on():
    whole, begun, again = made(), made(), made()
    expected = [epoch_of(whole, epoch, 0.35) for epoch in range(3)]
    assert epoch_of(begun, 0, 0.35) == expected[0]
    plan = begun.plan(1, 0.35)
    for ids in chunks(plan)[:4]:
        list(begun.select(batch_of(ids), no_score))
    again.load_state_dict(begun.state_dict())
    assert np.array_equal(again.plan(1, 0.35).ids, plan.ids)
    for ids in chunks(plan)[4:]:
        list(again.select(batch_of(ids), no_score))
    again.end_epoch(no_score)
    assert epoch_of(again, 2, 0.35) == expected[2]
    assert again.method._net._net.learned == whole.method._net._net.learned


def test_seeds_differ_and_plans_are_pure():
    one, other = made(), made(seed=1)
    assert np.array_equal(one.plan(1, 0.5).ids, one.plan(1, 0.5).ids)
    assert not np.array_equal(one.plan(1, 0.5).ids, other.plan(1, 0.5).ids)


@pytest.mark.parametrize(("target", "share"), [(0.5, 0.25 * (1 + 3 * 0.5 / 4)), (1.0, 0.0)])
def test_scored_share(target, share):
    assert made().scored_share(target) == pytest.approx(share)


def test_each_rank_takes_the_best_of_its_own_part(monkeypatch):
    scores = torch.arange(20.0).flip(0)

    def work(rank):
        loading = LargeBatches(context(samples=20, batch_size=8))
        own = distributed.shard(20)
        batch = loading.best(batch_of(range(20)).take(own, 20), scores[own])
        return batch.ids.tolist(), batch.rows

    assert on_ranks(monkeypatch, 2, work) == [([0, 1, 2, 3], 8), ([10, 11, 12, 13], 8)]


def test_equal_scores_are_taken_in_order():
    loading = LargeBatches(context(samples=6, batch_size=3))
    assert loading.best(batch_of(range(6)), torch.tensor([1.0, 2, 1, 1, 2, 1])).ids.tolist() == [1, 4, 0]


def test_proxy_net_learns_in_turn_over_a_resume():
    given = dataclasses.replace(context(), auxiliary_model=lambda **s: Side(LOSSES, **s))
    nets = [ProxyNet(given, 0.5, None, 3, None) for _ in range(2)]
    for shown in range(4):
        nets[0].show(batch_of([shown]), shown / 10)
    nets[1].load_state_dict(nets[0].state_dict())
    for shown in range(4, 8):
        nets[1].show(batch_of([shown]), shown / 10)
    assert nets[1]._net.learned == [([0], 0.0), ([3], 0.3), ([6], 0.6)]


def test_nothing_is_read_from_the_device():
    # Tensors without values cannot be read: whatever would wait for a device raises.
    loading = LargeBatches(context(samples=64, batch_size=8))
    loaded = dataclasses.replace(batch_of(range(20)), ids=torch.empty(20, dtype=torch.int64, device="meta"))
    loaded = dataclasses.replace(loaded, images=loaded.images.to("meta"), labels=loaded.labels.to("meta"))
    assert len(loading.best(loaded, torch.empty(20, device="meta"))) == 8
