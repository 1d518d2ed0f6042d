"""Loss minus the irreducible loss of a small network that was trained on held-out samples."""

import dataclasses
import io

import numpy as np
import pytest
import torch
from rank_tools import on_ranks
from selection_tools import batch_of, chunks, context, no_score
from torch.nn.functional import cross_entropy

from ast_experiments.core import distributed
from ast_experiments.core.batch import Outputs
from ast_experiments.core.errors import ConfigError
from ast_experiments.selection.methods.rho_loss import RhoLoss
from ast_experiments.selection.selector import Selector

SAMPLES, HELD = 200, 45
LABELS = torch.arange(SAMPLES) % 10


def logits_of(seed):
    return torch.randn(SAMPLES, 10, generator=torch.Generator().manual_seed(seed))


def outputs(logits, ids):
    """Losses that label smoothing or the like made useless: the method has to take plain ones."""
    return Outputs(logits[ids], torch.full((len(ids),), torch.nan))


def labelled(ids, epoch):
    return dataclasses.replace(batch_of(ids), labels=LABELS[ids])


class Side:
    def __init__(self, **settings):
        self.settings, self.learned, self.scored = settings, [], []

    def learn(self, batch, progress):
        self.learned.append((batch.ids.tolist(), batch.rows, progress))

    def score(self, batch):
        self.scored += batch.ids.tolist()
        return outputs(logits_of(1), batch.ids)


def made(epochs=3, held=HELD, **settings):
    method = RhoLoss(**{"irreducible_epochs": epochs, "proxy_width": 0.5, "proxy_arch": None} | settings)
    nets = []

    def auxiliary_model(**given):
        nets.append(Side(**given))
        return nets[-1]

    def held_out(ids, epoch):
        assert len(ids) == 0 or int(ids.max()) < HELD
        return batch_of(ids)

    given = context(samples=SAMPLES, batch_size=16, epochs=4)
    given = dataclasses.replace(
        given,
        fetch=labelled,
        auxiliary_model=auxiliary_model,
        held_out=held_out if held else None,
        held_out_samples=held,
    )
    return Selector(method, given), nets[0]


def score(batch, mode="eval", size=None):
    assert mode == "eval"
    return outputs(logits_of(2), batch.ids)


@pytest.mark.parametrize(("rate", "load"), [(0.1, 160), (0.4, 40), (0.5, 32)])
def test_the_rows_with_the_most_reducible_loss(rate, load):
    selector, _ = made()
    wanted = [cross_entropy(logits_of(seed), LABELS, reduction="none").numpy() for seed in (2, 1)]
    excess = wanted[0] - wanted[1]
    plan = selector.plan(0, rate)
    assert plan.load_batch == load
    for ids in chunks(plan):
        (batch,) = selector.select(labelled(torch.as_tensor(ids), 0), score)
        assert sorted(batch.ids.tolist()) == sorted(sorted(ids.tolist(), key=lambda i: -excess[i])[:16])


def test_the_small_network_learns_from_held_out_samples_then_scores_all_others_once():
    selector, side = made(epochs=3)
    assert not side.learned
    selector.plan(0, 0.4)
    assert side.settings == {"width": 0.5, "arch": None}
    assert len(side.learned) == 3 * (HELD // 16)
    for epoch in range(3):
        ids = [i for rows, _, _ in side.learned[2 * epoch : 2 * epoch + 2] for i in rows]
        assert len(set(ids)) == 32
    assert {len(rows) for rows, _, _ in side.learned} == {16}
    assert [p for *_, p in side.learned] == pytest.approx([i / 6 for i in range(6)])
    assert sorted(side.scored) == list(range(SAMPLES))
    selector.plan(0, 0.4)
    selector.plan(1, 0.4)
    assert len(side.learned) == 6


def test_fewer_held_out_samples_than_a_batch_are_one():
    selector, side = made(epochs=2, held=7)
    selector.plan(0, 0.4)
    assert [sorted(rows) for rows, _, _ in side.learned] == [list(range(7))] * 2


def test_without_held_out_samples_it_is_refused():
    with pytest.raises(ConfigError, match=r"held out.*type holdout=0\.1"):
        made(held=0)


def test_a_resumed_run_does_not_learn_again():
    selector, _ = made()
    plan = selector.plan(0, 0.4)
    file = io.BytesIO()
    torch.save(selector.state_dict(), file)
    file.seek(0)
    again, side = made()
    again.load_state_dict(torch.load(file, weights_only=True))
    assert np.array_equal(again.plan(0, 0.4).ids, plan.ids)
    assert not side.learned
    assert not side.scored
    for ids in chunks(plan):
        rows = labelled(torch.as_tensor(ids), 0)
        (one,), (other,) = (list(s.select(rows, score)) for s in (selector, again))
        assert torch.equal(one.ids, other.ids)
    before, _ = made()
    before.load_state_dict(made()[0].state_dict())


def test_dense_epochs_train_what_was_loaded():
    selector, _ = made()
    plan = selector.plan(0, 1.0)
    assert (plan.load_batch, plan.keep_short, sorted(plan.ids)) == (16, True, list(range(SAMPLES)))
    rows = batch_of(plan.ids[:16])
    assert list(selector.select(rows, no_score)) == [rows]


def test_scored_share_spreads_the_small_network_over_the_epochs():
    once = 0.25 * (SAMPLES + 3 * 3 * HELD) / (4 * SAMPLES)
    assert made()[0].scored_share(0.1) == pytest.approx(1 + once)
    assert made()[0].scored_share(1.0) == pytest.approx(once)


def test_ranks_share_the_work_and_know_all_losses(monkeypatch):
    def work(rank):
        selector, side = made(epochs=2)
        selector.plan(0, 0.4)
        return side.learned, side.scored, selector.state_dict()["method"]["irreducible"]

    alone, _ = made(epochs=2)
    alone.plan(0, 0.4)
    (first, scored, losses), (second, also, others) = on_ranks(monkeypatch, 2, work)
    assert {(len(rows), total) for rows, total, _ in first + second} == {(8, 16)}
    assert sorted(scored + also) == list(range(SAMPLES))
    assert torch.equal(losses, others)
    assert torch.equal(losses, alone.state_dict()["method"]["irreducible"])
    assert distributed.size() == 1
