"""Methods that plan before loading are pure, differ by seed, survive a checkpoint, and avoid the known traps."""

import dataclasses
import io
import itertools

import numpy as np
import pytest
import torch
from planning_methods import METHODS, RATED, Lab, built, falling, target_of
from selection_tools import batch_of, context
from torch import nn

from ast_experiments.core import distributed
from ast_experiments.core.batch import Batch, Outputs
from ast_experiments.energy.ledger import Ledger
from ast_experiments.selection.batching import Carry
from ast_experiments.selection.context import forwarded
from ast_experiments.selection.history import SampleHistory
from ast_experiments.selection.selector import Selector
from ast_experiments.training.hardware import build_hardware
from ast_experiments.training.step import Scorer, Stepper

SAMPLES, BATCH, EPOCHS = 331, 32, 14
REPEATS = ("rs2",)
"""Methods that may train a sample twice in an epoch."""
DRAWING = ("random", "rs2", "infobatch", "selective_backprop", "orderdp", "seta", "ast")
"""Methods that go on drawing when every sample has a score; the others then draw nothing but an order."""
BIG = 2**24 + np.arange(1, 8, dtype=np.int64)


def lab(name, seed=0, batch_size=BATCH):
    return Lab(built(name), falling(SAMPLES), samples=SAMPLES, batch_size=batch_size, epochs=EPOCHS, seed=seed)


def same(a, b):
    assert np.array_equal(a.ids, b.ids)
    assert (a.offered, a.keep_short, a.lr_scale) == (b.offered, b.keep_short, b.lr_scale)
    assert (a.weights is None) == (b.weights is None)
    if a.weights is not None:
        assert np.array_equal(a.weights, b.weights)


def equal(a, b):
    """Whether two states are equal; nan equals nan."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    return torch.equal(a.nan_to_num(-1), b.nan_to_num(-1)) if isinstance(a, torch.Tensor) else a == b


@pytest.mark.parametrize("name", METHODS)
def test_every_plan_is_sound_and_pure(name):
    made, target = lab(name), target_of(name)
    np.random.seed(0)
    torch.manual_seed(0)
    states = np.random.get_state()[1].copy(), torch.get_rng_state()
    for epoch in range(EPOCHS):
        if epoch == 6:
            # A global seed, as public code sets each epoch, changes nothing.
            np.random.seed(epoch)
            states = np.random.get_state()[1].copy(), torch.get_rng_state()
        plan = made.selector.plan(epoch, target)
        made.selector.plan(epoch, 0.9)
        made.train(plan, slice(0, 2))
        same(plan, made.selector.plan(epoch, target))
        made.train(plan, slice(2, None))
        assert plan.ids.dtype == np.int64
        assert ((plan.ids >= 0) & (plan.ids < SAMPLES)).all()
        assert name in REPEATS or len(np.unique(plan.ids)) == len(plan.ids)
        assert plan.keep_short or len(plan.ids) % BATCH == 0
        if plan.offered_by_batch is not None:
            assert len(plan.offered_by_batch) == len(plan.trace["picked"]) == plan.batches
            assert plan.offered_by_batch[-1] == plan.offered
        made.close()
    assert np.array_equal(np.random.get_state()[1], states[0])
    assert torch.equal(torch.get_rng_state(), states[1])


@pytest.mark.parametrize("name", METHODS)
def test_seeds_and_epochs_have_their_own_masks(name):
    one, other = (lab(name, seed, batch_size=4).run(EPOCHS, target_of(name)) for seed in (0, 1))
    assert not any(np.array_equal(a.ids, b.ids) for a, b in zip(one, other, strict=True))
    # Samples without a score are alike, so a method that leaves some of them out has to draw.
    unseen = lab(name, batch_size=4)
    drawn = EPOCHS if name in DRAWING else 0
    while name not in DRAWING and unseen.selector.history.unseen.any() and drawn < EPOCHS:
        unseen.run(1, target_of(name))
        drawn += 1
    pairs = [*zip(one[:drawn], other[:drawn], strict=True), *itertools.pairwise(one[:drawn])]
    pairs = [(a, b) for a, b in pairs if not a.keep_short and not b.keep_short]
    assert len(pairs) >= 10 or name not in DRAWING
    for a, b in pairs:
        # With equal draws, two masks would differ by no more than what waited before or waits after: 4 x 3 rows.
        assert len(set(a.ids.tolist()) ^ set(b.ids.tolist())) > 16


@pytest.mark.parametrize("name", RATED)
def test_an_epoch_at_rate_1_trains_every_sample(name):
    made = lab(name)
    for epoch, target in enumerate([1.0, 0.4, 0.4, 0.4, 1.0, 0.4, 1.0, 1.0]):
        waiting = made.selector.method.carry.now.ids.tolist()
        (plan,) = made.run(1, target)
        if target == 1:
            assert sorted(plan.ids) == list(range(SAMPLES)), epoch
            assert plan.ids[: len(waiting)].tolist() == waiting
            assert plan.weights is None
            assert plan.keep_short
        else:
            assert len(plan.ids) < SAMPLES


@pytest.mark.parametrize("stop", [0, 1, 4, 12])
@pytest.mark.parametrize("name", METHODS)
def test_resuming_in_the_middle_of_an_epoch(name, stop):
    target = target_of(name)
    whole, begun, resumed = lab(name), lab(name), lab(name)
    expected = whole.run(EPOCHS, target)
    begun.run(stop, target)
    begun.train(begun.selector.plan(stop, target), slice(0, 2))
    file = io.BytesIO()
    torch.save(begun.selector.state_dict(), file)
    file.seek(0)
    resumed.selector.load_state_dict(torch.load(file, weights_only=True))
    resumed.epoch = stop
    plan = resumed.selector.plan(stop, target)
    same(plan, expected[stop])
    resumed.train(plan, slice(2, None))
    resumed.close()
    for got, wanted in zip(resumed.run(EPOCHS - stop - 1, target), expected[stop + 1 :], strict=True):
        same(got, wanted)
    assert equal(resumed.selector.state_dict(), whole.selector.state_dict())
    assert resumed.selector.facts() == whole.selector.facts()


@pytest.mark.parametrize("name", METHODS)
def test_state_is_a_copy(name):
    made = lab(name)
    made.run(3, target_of(name))
    state = made.selector.state_dict()
    file = io.BytesIO()
    torch.save(state, file)
    made.run(2, target_of(name))
    file.seek(0)
    assert equal(state, torch.load(file, weights_only=True))


def test_ids_above_2_to_the_24_stay_what_they_are():
    assert (BIG.astype(np.float32) != BIG).any()
    carry, picked = Carry(4), np.array([True, True, False, True, True, True, True])
    plan = carry.plan(BIG, picked, weights=np.full(7, 2.0))
    assert plan.ids.tolist() == BIG[[0, 1, 3, 4]].tolist()
    carry.commit(0)
    other = Carry(3)
    other.load_state_dict(carry.state_dict())
    plan = other.plan(BIG[:2] + 100, np.array([True, False]))
    assert plan.ids.tolist() == [*BIG[5:], BIG[0] + 100]
    seen = []
    c = dataclasses.replace(context(batch_size=3), fetch=lambda ids, epoch: seen.extend(ids.tolist()) or batch_of(ids))
    losses = [outputs for _, outputs in forwarded(c, lambda batch: batch.ids, BIG, 0)]
    assert seen == BIG.tolist() == torch.cat(losses).tolist()
    table = SampleHistory(2**24 + 10)
    table.record(torch.from_numpy(BIG), torch.arange(7.0))
    table.commit(0)
    assert table.scores[BIG].tolist() == list(range(7))
    assert table.visits.sum() == 7


def test_ranks_share_the_scoring_passes(monkeypatch):
    ids = np.arange(10, dtype=np.int64)
    c = dataclasses.replace(context(batch_size=4), fetch=lambda ids, epoch: batch_of(ids))
    parts = []
    monkeypatch.setattr(distributed, "size", lambda: 3)
    for rank in range(3):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        parts.append([batch.ids.tolist() for batch, _ in forwarded(c, lambda batch: None, ids, 0)])
    assert parts == [[[0], [4]], [[1], [5], [8]], [[2, 3], [6, 7], [9]]]


def test_confidence_is_over_the_classes():
    made = Lab(built("kakurenbo"), None, samples=3, batch_size=3, epochs=10)
    # Right and sure, but with the least logit of the batch; right and unsure; wrong and sure.
    logits = torch.tensor([[1.0, -9.0, -9.0], [8.0, 7.9, 7.9], [-9.0, 5.0, -9.0]])
    losses = torch.tensor([0.1, 0.2, 0.3])
    batch = Batch(torch.arange(3), torch.zeros(3, 1, 1, 1), torch.zeros(3, dtype=torch.int64))
    made.selector.plan(0, 1.0)
    made.selector.observe(batch, Outputs(logits, losses))
    made.close()
    sure = made.selector.state_dict()["method"]["_confidences"]["scores"]
    assert sure.tolist() == pytest.approx([1.0, np.e**0.1 / (np.e**0.1 + 2), 0.0], abs=1e-3)


class Net(nn.Module):
    """A network with BatchNorm and dropout, whose scoring in training mode would show."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))

    def forward(self, images):
        return self.net(images)


@pytest.mark.parametrize("name", ["kakurenbo", "selective_backprop", "curriculum"])
def test_scoring_leaves_batchnorm_alone(name):
    torch.manual_seed(0)
    samples, net = 64, Net().train()
    images, labels = torch.randn(samples, 1, 2, 2) * 3 + 1, torch.zeros(samples, dtype=torch.int64)
    hardware = build_hardware(
        device="cpu", precision="float32", channels_last=False, compile=False, deterministic=False, threads=None
    )
    ledger = Ledger(hardware.device)
    scorer = Scorer(Stepper(net, None, hardware), ledger)  # which never steps
    selector = Selector(
        built(name),
        dataclasses.replace(
            context(samples=samples, batch_size=8, epochs=5),
            fetch=lambda ids, epoch: Batch(ids, images[ids], labels[ids]),
        ),
    )
    before = {key: value.clone() for key, value in net.state_dict().items()}
    random = torch.get_rng_state()
    for epoch in range(2):
        plan = selector.plan(epoch, 0.5)
        # Everything is right and sure, so that in the second epoch some samples are hidden.
        logits = torch.tensor([[9.0, 0.0]]).expand(len(plan.ids), 2)
        batch = Batch(torch.from_numpy(plan.ids), images[plan.ids], labels[plan.ids])
        selector.observe(batch, Outputs(logits, torch.rand(len(plan.ids), generator=torch.Generator().manual_seed(1))))
        selector.end_epoch(scorer)
    ledger.all_reduce()
    assert ledger.scored > 10
    assert net.training
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
