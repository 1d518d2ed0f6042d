"""Rows that wait for a full batch: their order, their weights, over epochs, resumes and ranks."""

import dataclasses
import io

import numpy as np
import pytest
import torch
from rank_tools import on_ranks
from selection_tools import batch_of, context

from ast_experiments.data.dataset import Images
from ast_experiments.data.in_memory.transforms import PadCropFlip
from ast_experiments.data.loaders.device import DeviceLoader
from ast_experiments.selection.batch_queue import BatchQueue

BIG = 2**40 + 1  # not a number of float32


def fetch(ids, epoch):
    """Rows that show their id and epoch."""
    ids = ids.clone()
    images = torch.stack([ids.double(), torch.full((len(ids),), float(epoch), dtype=torch.float64)], 1)
    return dataclasses.replace(batch_of(ids.numpy()), images=images[:, :, None, None], labels=ids % 7)


def queue_of(batch_size, fetch=fetch):
    return BatchQueue(dataclasses.replace(context(batch_size=batch_size), fetch=fetch))


def weighted(ids, epoch, weights):
    return dataclasses.replace(fetch(torch.tensor(ids), epoch), weights=torch.tensor(weights, dtype=torch.float32))


def passed(queue, ids, epoch=0, flush=False):
    return [batch.ids.tolist() for batch in queue.pass_on(fetch(torch.tensor(ids), epoch), epoch, flush=flush)]


def resumed(queue, size):
    """The queue that a checkpoint of this one makes."""
    file = io.BytesIO()
    torch.save(queue.state_dict(), file)
    assert len(file.getvalue()) < 20_000, "rows are stored as ids"
    file.seek(0)
    again = queue_of(size)
    again.load_state_dict(torch.load(file, weights_only=True))
    return again


@pytest.mark.parametrize(
    ("pieces", "batches", "left"),
    [
        ([[1, 2, 3]], [], 3),
        ([[1, 2], [], [3]], [], 3),
        ([[3, 1], [2, 0]], [[3, 1, 2, 0]], 0),
        ([[5], [4, 3], [2, 1, 0]], [[5, 4, 3, 2]], 2),
        ([[9, 8, 7, 6, 5, 4, 3, 2, 1]], [[9, 8, 7, 6], [5, 4, 3, 2]], 1),
        ([[1, 2, 3], [4, 5, 6, 7, 8, 9]], [[1, 2, 3, 4], [5, 6, 7, 8]], 1),
        ([[BIG, BIG + 2, BIG + 1], [BIG + 3]], [[BIG, BIG + 2, BIG + 1, BIG + 3]], 0),
    ],
)
def test_full_batches_in_order(pieces, batches, left):
    queue = queue_of(4)
    given = [ids for piece in pieces for ids in passed(queue, np.array(piece, dtype=np.int64))]
    assert given == batches
    assert len(queue) == left
    rest = [i for piece in pieces for i in piece][len(given) * 4 :]
    assert passed(queue, np.array([], dtype=np.int64), flush=True) == ([rest] if left else [])
    assert len(queue) == 0


def test_rows_stay_together():
    queue = queue_of(5)
    (batch,) = [
        *queue.pass_on(weighted([4, BIG], 0, [0.5, 2.0]), 0),
        *queue.pass_on(weighted([7, 1, 3, 2], 1, [1.0, 4.0, 3.0, 9.0]), 1),
    ]
    assert batch.ids.tolist() == [4, BIG, 7, 1, 3]
    assert batch.ids.dtype == torch.int64
    assert batch.images[:, :, 0, 0].tolist() == [[4, 0], [BIG, 0], [7, 1], [1, 1], [3, 1]]
    assert torch.equal(batch.labels, batch.ids % 7)
    assert batch.weights.tolist() == [0.5, 2.0, 1.0, 4.0, 3.0]
    assert batch.rows == 5


def test_rows_without_weights_beside_others_weigh_one():
    queue = queue_of(3)
    queue.put(fetch(torch.tensor([1]), 0), 0)
    (batch,) = queue.pass_on(weighted([2, 3], 0, [0.5, 0.25]), 0)
    assert batch.weights.tolist() == [1.0, 0.5, 0.25]
    (plain,) = queue.pass_on(fetch(torch.tensor([1, 2, 3]), 0), 0)
    assert plain.weights is None


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_lost_or_trained_twice_over_epochs_and_resumes(seed):
    rng = np.random.default_rng(seed)
    queue, whole, came, went = queue_of(16), queue_of(16), [], []
    for epoch in range(5):
        order = rng.permutation(200)
        for ids in np.array_split(order, rng.integers(3, 40)):
            active = ids[rng.random(len(ids)) < 0.4]
            came += [(i, epoch) for i in active.tolist()]
            rows = weighted(active, epoch, active / 8 + epoch)
            batches, expected = (list(q.pass_on(rows, epoch)) for q in (queue, whole))
            for batch, other in zip(batches, expected, strict=True):
                assert len(batch) == 16
                assert torch.equal(batch.weights, batch.ids / 8 + batch.images[:, 1, 0, 0])
                assert torch.equal(batch.images, other.images)
                assert torch.equal(batch.weights, other.weights)
                went += [(int(i), int(e)) for i, e in batch.images[:, :, 0, 0].tolist()]
            if rng.random() < 0.3:
                queue = resumed(queue, 16)
                assert (len(queue), queue.picked) == (len(whole), whole.picked)
    left = queue.state_dict()
    assert left["ids"].dtype == torch.int64
    went += list(zip(left["ids"].tolist(), left["epochs"].tolist(), strict=True))
    assert went == came


def test_picked_counts_what_came_since_the_last_trained_batch():
    queue, seen = queue_of(4), []
    for ids in ([1], [2, 3], [4, 5], [6, 7, 8, 9, 10, 11, 12], []):
        seen += [queue.picked for _ in queue.pass_on(fetch(torch.tensor(ids, dtype=torch.int64), 0), 0)]
        seen.append(-queue.picked)
    assert seen == [-1, -3, 5, 0, 7, 0, 0, 0]


def test_rows_that_are_made_again_are_the_same_bits():
    rng = np.random.default_rng(0)
    images = Images(rng.integers(0, 256, (64, 8, 8, 3), dtype=np.uint8), rng.integers(0, 10, 64))
    loader = DeviceLoader(images, "cpu", transform=PadCropFlip(2, True), mean=[0.5] * 3, std=[0.2] * 3, seed=3)
    queue, again = (queue_of(12, loader.fetch) for _ in range(2))
    for epoch, ids in ((1, [5, 40, 2]), (2, [9, 5, 63, 8])):
        loaded = loader.fetch(torch.arange(64), epoch)
        queue.put(loaded.take(torch.tensor(ids)), epoch)
    again.load_state_dict(queue.state_dict())
    rest = loader.fetch(torch.arange(30, 40), 2)
    (one,), (other,) = (list(q.pass_on(rest, 2)) for q in (queue, again))
    assert torch.equal(one.images, other.images)
    assert one.images.stride() == other.images.stride()
    assert torch.equal(one.labels, other.labels)
    assert one.ids.tolist() == other.ids.tolist() == [5, 40, 2, 9, 5, 63, 8, 30, 31, 32, 33, 34]


def test_ranks_step_together_and_one_without_rows_does_not_hang(monkeypatch):
    came = [[3, 3, 0, 2, 1, 0], [0, 0, 1, 4, 0, 0]]  # rows of each rank by loaded batch; a batch holds two of each

    def work(rank):
        queue, went = queue_of(4), []
        for index, rows in enumerate(came[rank]):
            ids = torch.arange(rows) + 100 * rank + 10 * index
            loaded = dataclasses.replace(fetch(ids, 0), total=came[0][index] + came[1][index])
            went.append([(batch.ids.tolist(), batch.rows) for batch in queue.pass_on(loaded, 0)])
        waiting = len(queue)
        rest = [(b.ids.tolist(), b.rows) for b in queue.pass_on(fetch(torch.arange(0), 0), 1, flush=True)]
        return went, waiting, rest

    (first, waits, rest), (second, also, other) = on_ranks(monkeypatch, 2, work)
    assert first == [[], [], [], [([0, 1], 4), ([2, 10], 4)], [], []]
    assert second == [[], [], [], [([120, 130], 4), ([131, 132], 4)], [], []]
    assert (waits, also) == (5, 1)
    assert rest == [([11, 12, 30, 31, 40], 6)]
    assert other == [([133], 6)]


def test_a_rank_without_a_row_takes_part_in_the_last_short_batch(monkeypatch):
    def work(rank):
        queue = queue_of(4)
        rows = fetch(torch.arange(3 if rank else 0), 0)
        return [(len(b), b.rows, b.images.shape[1:]) for b in queue.pass_on(rows, 0, flush=True)]

    none, some = on_ranks(monkeypatch, 2, work)
    assert none == [(0, 3, torch.Size([2, 1, 1]))]
    assert some == [(3, 3, torch.Size([2, 1, 1]))]
