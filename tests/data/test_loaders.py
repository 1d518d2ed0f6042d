import os
import signal
import time
from contextlib import suppress
from itertools import islice, product

import numpy as np
import pytest
import torch

from ast_experiments.data.dataset import Images
from ast_experiments.data.in_memory.transforms import PadCropFlip
from ast_experiments.data.loaders import workers
from ast_experiments.data.loaders.base import PlannedBatches
from ast_experiments.data.loaders.device import DeviceLoader
from ast_experiments.data.loaders.host import HostLoader
from ast_experiments.data.loaders.placement import build_loader, padded_bytes

ROWS = 50
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
CROP = PadCropFlip(2, True)


def images():
    rng = np.random.default_rng(0)
    return Images(rng.integers(0, 256, (ROWS, 8, 8, 3)).astype(np.uint8), rng.integers(0, 10, ROWS))


def make(kind, workers=0, transform=CROP, seed=3, device="cpu"):
    settings = {"transform": transform, "mean": MEAN, "std": STD, "seed": seed}
    if kind == "device":
        return DeviceLoader(images(), device, **settings)
    return HostLoader(images(), device, **settings, workers=workers)


LOADERS = {"device": ("device", 0), "host0": ("host", 0), "host1": ("host", 1), "host3": ("host", 3)}


@pytest.fixture(scope="module", params=LOADERS.values(), ids=LOADERS)
def loader(request):
    return make(*request.param)


def order(rows=ROWS):
    return np.random.default_rng(1).permutation(ROWS)[:rows]


def same(a, b):
    fields = ("ids", "images", "labels", "weights")
    pairs = [(getattr(a, name), getattr(b, name)) for name in fields]
    return all(x is y if x is None or y is None else torch.equal(x, y) for x, y in pairs)


def joined(batches):
    return torch.cat([b.images for b in batches])


@pytest.fixture(scope="module")
def expected():
    whole = make("device").fetch(np.arange(ROWS), 7)
    return whole.images


@pytest.mark.parametrize(("rows", "start", "keep_short"), list(product([0, 3, 8, 9, 24], [0, 1, 3], [False, True])))
def test_an_epoch_is_cut_into_batches(rows, start, keep_short):
    ids = np.arange(rows)
    expected = [ids[at : at + 8].tolist() for at in range(0, rows, 8)]
    expected = [part for part in expected if keep_short or len(part) == 8][start:]
    planned = PlannedBatches(ids, 8, start=start, keep_short=keep_short)
    assert [ids[part].tolist() for part in planned.slices] == expected


@pytest.mark.parametrize("batch_size", [1, 7, 16, 50, 64])
def test_pictures_are_the_same_for_all_loaders_and_batch_sizes(loader, expected, batch_size):
    ids = order()
    batches = list(loader.batches(PlannedBatches(ids, batch_size, keep_short=True), 7))
    assert torch.equal(joined(batches), expected[ids])
    assert torch.equal(torch.cat([b.ids for b in batches]), torch.from_numpy(ids))
    assert torch.equal(torch.cat([b.labels for b in batches]), torch.from_numpy(images().labels[ids]))
    batch = batches[0]
    assert (batch.ids.dtype, batch.labels.dtype, batch.images.dtype) == (
        torch.int64,
        torch.int64,
        torch.float32,
    )
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.weights is None


@pytest.mark.parametrize("keep_short", [False, True])
def test_a_resumed_epoch_goes_on_with_the_same_batches(loader, keep_short):
    weights = np.linspace(0, 1, ROWS)
    whole = list(loader.batches(PlannedBatches(order(), 8, weights, keep_short=keep_short), 7))
    assert len(whole) == 6 + keep_short
    assert whole[-1].weights.dtype == torch.float32
    assert torch.equal(torch.cat([b.weights for b in whole]), torch.from_numpy(weights).float()[: 48 + 2 * keep_short])
    for start in (0, 1, 5, 7, 9):
        rest = list(loader.batches(PlannedBatches(order(), 8, weights, start, keep_short), 7))
        assert len(rest) == len(whole[start:])
        assert all(same(a, b) for a, b in zip(rest, whole[start:], strict=True))


@pytest.mark.parametrize("kind", LOADERS.values(), ids=LOADERS)
def test_alternating_flips_follow_the_visits_of_each_sample(kind):
    loader = make(*kind, transform=PadCropFlip(0, "alternating"))
    visits = np.random.default_rng(2).integers(0, 6, ROWS).astype(np.int32)
    sides = [loader.fetch(np.arange(ROWS), epoch).images for epoch in (0, 1)]
    turned = torch.from_numpy(visits % 2 == 1)[:, None, None, None]
    made = joined(loader.batches(PlannedBatches(order(), 8, keep_short=True, visits=visits[order()]), 7))
    assert torch.equal(made, torch.where(turned, sides[1], sides[0])[order()])
    few = order()[:9]
    assert torch.equal(loader.fetch(few, 7, visits[few]).images, made[:9])
    loader.close()
    with pytest.raises(ValueError, match=r"visits must have the shape of ids, \(50,\), not \(3,\)"):
        PlannedBatches(order(), 8, visits=visits[:3])


def test_an_epoch_that_was_left_early_does_not_reach_the_next(loader, expected):
    for _ in range(3):
        list(islice(loader.batches(PlannedBatches(order()[::-1].copy(), 8), 1), 2))
    assert torch.equal(joined(loader.batches(PlannedBatches(order(), 10), 7)), expected[order()])


def test_fetch_makes_rows_again(loader, expected):
    ids = np.array([4, 4, 49, 0])
    for given in (ids, torch.from_numpy(ids)):
        batch = loader.fetch(given, 7)
        assert torch.equal(batch.images, expected[ids])
        assert torch.equal(batch.labels, torch.from_numpy(images().labels[ids]))
        assert batch.ids.tolist() == ids.tolist()


def test_fetch_during_an_epoch_disturbs_nothing(loader, expected):
    made = []
    for batch in loader.batches(PlannedBatches(order(), 10), 7):
        loader.fetch(batch.ids[:3], 6)
        made.append(batch)
    assert torch.equal(joined(made), expected[order()])


def test_epochs_and_seeds_change_the_pictures(loader, expected):
    assert not torch.equal(loader.fetch(np.arange(ROWS), 8).images, expected)
    assert not torch.equal(make("device", seed=4).fetch(np.arange(ROWS), 7).images, expected)


@pytest.mark.parametrize("kind", ["device", "host"])
def test_validation_sees_the_images_as_they_are(kind):
    batch = make(kind, transform=PadCropFlip()).fetch(np.arange(ROWS), 0)
    pixels = torch.from_numpy(images().images).permute(0, 3, 1, 2).double() / 255
    plain = (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(batch.images.double(), plain, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"ids": np.arange(8, dtype=np.int32)}, ValueError, "int64"),
        ({"ids": np.arange(8).reshape(2, 4)}, ValueError, "int64"),
        ({"ids": np.array([0, 50])}, IndexError, "50 rows"),
        ({"ids": np.array([-1, 5])}, IndexError, "50 rows"),
        ({"weights": np.ones(3)}, ValueError, "weights"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"start": -1}, ValueError, "start"),
    ],
)
@pytest.mark.parametrize("kind", ["device", "host"])
def test_wrong_arguments_are_refused_at_once(kind, change, error, message):
    arguments = {"ids": np.arange(8), "batch_size": 4, **change}
    with pytest.raises(error, match=message):
        make(kind).batches(PlannedBatches(**arguments), 0)


def test_one_epoch_at_a_time_on_the_host():
    loader = make("host")
    first = loader.batches(PlannedBatches(order(), 8), 0)
    next(first)
    next(loader.batches(PlannedBatches(order(), 8), 1))
    with pytest.raises(RuntimeError, match="one epoch at a time"):
        next(first)


def test_global_random_streams_stay_untouched(loader):
    before = torch.get_rng_state()
    list(loader.batches(PlannedBatches(order(), 8), 0))
    assert torch.equal(torch.get_rng_state(), before)


def test_read_only_arrays_are_welcome(loader, recwarn):
    ids = order()
    ids.flags.writeable = False
    assert len(list(loader.batches(PlannedBatches(ids, 8), 0))) == 6
    assert len(loader.fetch(ids, 0)) == ROWS
    assert not [w for w in recwarn if "writable" in str(w.message)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_workers_leave_signals_to_the_main_process(expected, number):
    loader = make("host", workers=2)
    epoch = loader.batches(PlannedBatches(order(), 5), 7)
    made = [next(epoch)]
    time.sleep(0.2)
    processes = loader._pool._iterator._workers
    for worker in processes:
        os.kill(worker.pid, number)
    made += list(epoch)
    assert torch.equal(joined(made), expected[order()])
    assert all(worker.is_alive() for worker in processes)
    begin = time.monotonic()
    loader.close()
    assert time.monotonic() - begin < 5  # they end by themselves, and are not waited for in vain
    assert not any(worker.is_alive() for worker in processes)
    assert torch.equal(
        joined(loader.batches(PlannedBatches(order(), 5), 7)), expected[order()]
    )  # others take their place


@pytest.mark.parametrize(("error", "shown"), [(ConnectionResetError, False), (EOFError, False), (ValueError, True)])
def test_a_worker_says_nothing_when_its_main_process_is_gone(error, shown, capsys):
    workers.show_error(error, error("text"), None)
    assert ("text" in capsys.readouterr().err) == shown


def test_a_worker_that_does_not_end_by_itself_ends_some_time_after_sigterm(monkeypatch):
    monkeypatch.setattr(workers, "GRACE_S", 1)
    loader = make("host", workers=1)
    next(loader.batches(PlannedBatches(order(), 5), 7))
    (worker,) = loader._pool._iterator._workers
    time.sleep(0.2)
    os.kill(worker.pid, signal.SIGTERM)
    time.sleep(0.3)
    assert worker.is_alive()
    with suppress(RuntimeError):  # torch tells the main process, unless join is the first to see that the worker ended
        worker.join(5)
        time.sleep(0.1)
    assert not worker.is_alive()


@pytest.mark.parametrize(
    ("device", "on_device", "kind"),
    [("cpu", None, DeviceLoader), ("cpu", True, DeviceLoader), ("cpu", False, HostLoader)],
)
def test_build_loader(device, on_device, kind):
    settings = {"transform": CROP, "mean": MEAN, "std": STD, "seed": 3, "workers": 0}
    assert type(build_loader(images(), device=device, on_device=on_device, **settings)) is kind


def test_padded_bytes():
    assert padded_bytes(images(), CROP) == ROWS * (12 * 12 * 3 + 8)


@pytest.mark.gpu
def test_a_gpu_gets_the_same_pictures_without_waiting():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    loaders = [make("device", device="cuda"), make("host", device="cuda", workers=1)]
    made = []
    for loader in loaders:
        epoch = loader.batches(PlannedBatches(order(), 10), 7)
        batches = [next(epoch)]
        torch.cuda.set_sync_debug_mode("error")
        try:
            batches += list(epoch)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        made.append(joined(batches))
    assert torch.equal(*made)
    torch.testing.assert_close(made[0].cpu(), make("device").fetch(order(), 7).images, atol=1e-6, rtol=0)
