"""Selective backpropagation that scores every batch."""

import dataclasses
import io

import numpy as np
import pytest
import torch
from rank_tools import on_ranks
from selection_tools import batch_of, chunks, context, no_score, outputs_of

from ast_experiments.core import distributed
from ast_experiments.selection.methods.selective_backprop_fresh import SelectiveBackpropFresh
from ast_experiments.selection.selector import Selector

SAMPLES, BATCH = 5000, 50


def fetch(ids, epoch):
    return batch_of(ids)


def made(seed=0, **settings):
    given = context(samples=SAMPLES, batch_size=BATCH, seed=seed)
    return Selector(SelectiveBackpropFresh(**settings), dataclasses.replace(given, fetch=fetch))


def losses_of(ids, epoch):
    rng = np.random.default_rng(epoch)
    return rng.exponential(1.0, SAMPLES)[np.asarray(ids)] * 0.97**epoch


def kept_of(selector, ids, losses, target):
    """The rows that one loaded batch adds to the queue."""
    before = selector.method._queue.state_dict()["ids"].tolist()
    went = [i for b in selector.select(batch_of(ids), lambda rows, **_: outputs_of(losses)) for i in b.ids.tolist()]
    return (went + selector.method._queue.state_dict()["ids"].tolist())[len(before) :]


@pytest.mark.parametrize("rate", [0.1, 0.4, 0.8])
def test_the_mean_share_kept_is_the_rate(rate):
    selector, trained, losses = made(), 0, []
    for epoch in range(4):
        for ids in chunks(selector.plan(epoch, rate)):
            values = losses_of(ids, epoch)
            for batch in selector.select(batch_of(ids), lambda rows, v=values, **_: outputs_of(v)):
                assert len(batch) == BATCH
                trained += len(batch)
                losses += losses_of(batch.ids, epoch).tolist()
    trained += len(selector.method._queue)
    assert trained / (4 * SAMPLES) == pytest.approx(rate, abs=0.012)
    # Of a loss at rank q, the share kept is q^beta: the mean rank of the kept is (1 + beta) / (2 + beta).
    beta = 1 / rate - 1
    ranks_of_kept = 1 - np.exp(-np.array(losses))
    assert ranks_of_kept.mean() == pytest.approx((1 + beta) / (2 + beta), abs=0.05)


@pytest.mark.parametrize(("history", "rate"), [(1024, 0.3), (120, 0.3), (64, 0.6)])
def test_each_row_is_kept_as_a_loop_over_the_last_losses_says(history, rate):
    selector, last = made(history=history), []
    for b, ids in enumerate(chunks(selector.plan(0, rate))[:30]):
        losses = losses_of(ids, 0).astype(np.float32)
        losses[::7] = losses[1]  # equal ones
        last = [*last, *losses.tolist()][-history:]
        draws = np.random.Generator(np.random.Philox(np.random.SeedSequence((0, 2, 0, b)))).random(50, dtype="float32")
        expected = []
        for i, loss, draw in zip(ids.tolist(), losses.tolist(), draws.tolist(), strict=True):
            rank = (sum(x < loss for x in last) + sum(x <= loss for x in last)) / 2 / len(last)
            if draw < rank ** (1 / rate - 1):
                expected.append(i)
        assert kept_of(selector, ids, losses, rate) == expected


def test_seeds_draw_different_rows():
    kept = []
    for seed in (0, 1):
        selector = made(seed)
        selector.plan(0, 0.4)
        kept.append(kept_of(selector, range(50), np.linspace(1, 2, 50), 0.4))
    assert kept[0] != kept[1]


def test_a_resumed_run_keeps_the_same_rows():
    def go(selector, first, last):
        went = []
        for epoch in range(2):
            for b, ids in enumerate(chunks(selector.plan(epoch, 0.3))) if first < 100 * (epoch + 1) else ():
                if first <= 100 * epoch + b < last:
                    values = losses_of(ids, epoch)
                    went += [
                        (rows.ids.tolist(), selector.signals())
                        for rows in selector.select(batch_of(ids), lambda rows, v=values, **_: outputs_of(v))
                    ]
        return went

    whole, begun, again = made(), made(), made()
    expected = go(whole, 0, 200)
    went = go(begun, 0, 131)
    file = io.BytesIO()
    torch.save(begun.state_dict(), file)
    file.seek(0)
    again.load_state_dict(torch.load(file, weights_only=True))
    assert went + go(again, 131, 200) == expected


def test_dense_epochs_train_everything_unscored():
    selector = made()
    sizes = [len(rows) for ids in chunks(selector.plan(0, 1.0)) for rows in selector.select(batch_of(ids), no_score)]
    assert sizes == [BATCH] * 100
    assert selector.scored_share(1.0) == 0
    assert selector.scored_share(0.4) == 1


def test_ranks_keep_what_one_process_keeps(monkeypatch):
    def work(rank=None):
        selector, went = made(), []
        for ids in chunks(selector.plan(0, 0.3))[:20]:
            loaded = batch_of(ids)
            loaded = loaded.take(distributed.shard(len(loaded)), len(loaded))
            outputs = outputs_of(losses_of(loaded.ids, 0))
            went += [(b.ids.tolist(), b.rows) for b in selector.select(loaded, lambda *_, o=outputs, **__: o)]
        waiting = selector.method._queue.state_dict()["ids"].tolist()
        return [i for ids, _ in went for i in ids] + waiting, [n for _, n in went]

    alone, _ = work()
    (first, steps), (second, also) = on_ranks(monkeypatch, 2, work)
    assert sorted(first + second) == sorted(alone)
    assert steps == also
    assert set(steps) == {BATCH}
