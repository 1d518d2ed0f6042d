"""Decoding of every kind of image, and what happens to those that cannot be decoded."""

import gc
import io
import os
from dataclasses import replace

import image_tools as tools
import numpy as np
import pytest
import torch
from PIL import Image, features
from torchvision.transforms.v2 import functional as vision

from ast_experiments.core.errors import ConfigError, DataError
from ast_experiments.data.dataset import Dataset
from ast_experiments.data.encoded import memory
from ast_experiments.data.encoded.colour import ColorJitter
from ast_experiments.data.encoded.decode import EncodedImage
from ast_experiments.data.encoded.images import EncodedImages
from ast_experiments.data.encoded.load import load_folder
from ast_experiments.data.encoded.transforms import CenterCrop, RandomResizedCrop
from ast_experiments.data.loaders.base import PlannedBatches
from ast_experiments.data.loaders.device import DeviceLoader
from ast_experiments.data.loaders.host import HostLoader
from ast_experiments.data.loaders.placement import build_loader

PIXELS = tools.image(1)
KINDS = {
    "jpeg": tools.encode(PIXELS),
    "progressive": tools.encode(PIXELS, progressive=True),
    "grey": tools.encode(PIXELS, mode="L"),
    "cmyk": tools.encode(PIXELS, mode="CMYK"),
    "png": tools.encode(PIXELS, "PNG"),
    "palette": tools.encode(PIXELS, "PNG", mode="P"),
    "transparent": tools.encode(PIXELS, "PNG", mode="RGBA"),
    "two colours": tools.encode(PIXELS, "PNG", mode="1"),
    "webp": tools.encode(PIXELS, "WEBP", lossless=True),
    "bmp": tools.encode(PIXELS, "BMP"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_image_becomes_rgb(kind):
    image = EncodedImage(KINDS[kind], "here")
    assert (image.height, image.width) == PIXELS.shape[:2]
    expected = np.array(Image.open(io.BytesIO(KINDS[kind])).convert("RGB"))
    assert np.array_equal(image.crop(0, 0, 40, 56).numpy(), expected)
    part = EncodedImage(KINDS[kind], "here").crop(3, 5, 20, 30)
    assert np.array_equal(part.numpy(), expected[3:23, 5:35])


@pytest.mark.parametrize(("dtype", "kind"), [("<u2", "PNG"), ("<u2", "TIFF"), (">u2", "TIFF"), ("<i4", "TIFF")])
def test_grey_of_16_bits_keeps_the_upper_8(dtype, kind):
    file = io.BytesIO()
    Image.fromarray(np.array([[0, 255, 256], [0x1234, 0xFEFF, 65535]], dtype)).save(file, kind)
    pixels = EncodedImage(file.getvalue(), "here").crop(0, 0, 2, 3)
    assert pixels.tolist() == [[[v] * 3 for v in row] for row in ([0, 0, 1], [0x12, 0xFE, 255])]


WHOLE = tools.encode(tools.image(2, 200, 300), quality=95)
BROKEN = {
    "truncated": (WHOLE[: len(WHOLE) // 2], "truncated"),
    "a web page": (b"<html>404</html>", "none of JPEG"),
    "empty": (b"", "none of JPEG"),
    "header alone": (WHOLE[:20], ""),
    "png cut": (KINDS["png"][:200], ""),
}
if features.check("avif"):
    AVIF = tools.encode(PIXELS, "AVIF")
    BROKEN["avif of no picture"] = (AVIF.replace(b"pitm\0\0\0\0\0\1", b"pitm\0\0\0\0\0\7"), "empty image item")
    BROKEN["avif of zeros"] = (AVIF[: AVIF.index(b"mdat") + 4].ljust(len(AVIF), b"\0"), "color planes")


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("transform", [RandomResizedCrop(), CenterCrop()], ids=["train", "val"])
def test_an_image_that_cannot_be_decoded_is_named(kind, transform):
    data, reason = BROKEN[kind]
    loader = HostLoader(tools.encoded_images(images=[WHOLE, data]), "cpu", transform=transform, **tools.PLAIN)
    with pytest.raises(DataError, match=f"image 1 cannot be decoded .*{reason}.*ast-doctor"):
        loader.fetch(np.array([0, 1]), 0)


def test_a_worker_reports_in_one_line(tmp_path):
    tools.folders(tmp_path, tools.samples())
    train = load_folder(str(tmp_path), size=16).train
    (tmp_path / "train" / "n01440764" / "n01440764_7.JPEG").unlink()
    loader = HostLoader(train, "cpu", transform=RandomResizedCrop(), **tools.PLAIN, workers=1)
    with pytest.raises(DataError) as raised:
        list(loader.batches(PlannedBatches(np.arange(12), 4), 0))
    assert str(raised.value) == f"{tmp_path}/train/n01440764/n01440764_7.JPEG cannot be read: No such file or directory"


class Threaded:
    """Garbage that must be collected by the process that made it, as a decoder with threads must."""

    def __init__(self, log):
        self.itself, self.log, self.maker = self, log, os.getpid()

    def __del__(self):
        if os.getpid() != self.maker:
            self.log.write_text("collected by a worker")


class Collecting:
    """A store that collects garbage at every read."""

    def __init__(self, store):
        self.store, self.where = store, store.where

    def __len__(self):
        return len(self.store)

    def read(self, row):
        gc.collect()
        return self.store.read(row)


def test_workers_leave_the_garbage_of_their_parent_alone(tmp_path):
    samples = tools.encoded_images()
    loader = HostLoader(
        replace(samples, store=Collecting(samples.store)),
        "cpu",
        transform=RandomResizedCrop(),
        **tools.PLAIN,
        workers=1,
    )
    gc.disable()
    try:
        Threaded(tmp_path / "log")
        assert len(list(loader.batches(PlannedBatches(np.arange(12), 4), 0))) == 3
    finally:
        gc.enable()
    gc.collect()
    assert gc.get_freeze_count() == 0
    assert not (tmp_path / "log").exists()


def test_nothing_is_read_or_decoded_for_a_sample_that_is_skipped():
    samples = tools.encoded_images()
    loader = HostLoader(samples, "cpu", transform=RandomResizedCrop(), **tools.PLAIN)
    list(loader.batches(PlannedBatches(np.array([7, 2, 11, 4]), 2), 0))
    assert samples.store.reads == [7, 2, 11, 4]
    list(loader.batches(PlannedBatches(np.array([1, 5, 8, 0]), 2, start=1), 0))
    assert samples.store.reads == [7, 2, 11, 4, 8, 0]


@pytest.mark.parametrize("scale", [0.5, 0.3, 0.1])
def test_large_jpegs_are_decoded_smaller_where_that_is_enough(scale):
    image, whole = EncodedImage(WHOLE, "here"), EncodedImage(WHOLE, "here").crop(0, 0, 200, 300)
    part = image.crop(96, 64, 80, 120, scale)
    assert 80 * scale <= part.shape[0] <= 80 * {0.5: 1 / 2, 0.3: 1 / 2, 0.1: 1 / 8}[scale]
    planes = whole[96:176, 64:184].permute(2, 0, 1)
    scaled = vision.resize(planes, [*part.shape[:2]], antialias=True).permute(1, 2, 0)
    assert (part.int() - scaled.int()).abs().float().mean() < 3


def test_squares_are_the_pictures_of_images_that_are_squares_already():
    images = [tools.encode(tools.image(row, 24, 24)) for row in range(6)]
    for transform in (RandomResizedCrop(), CenterCrop()):
        made = [
            HostLoader(samples, "cpu", transform=transform, **tools.PLAIN).fetch(np.arange(6), 2).images
            for samples in (
                tools.encoded_images(images=images),
                tools.encoded_images(images=images, stored_size=24),
                tools.encoded_images(images=images, stored_size=24).decode_all(),
            )
        ]
        assert torch.equal(made[0], made[1])
        assert torch.equal(made[0], made[2])


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [16, 33])
def test_a_device_makes_the_pictures_of_the_host(interpolation, size):
    samples = tools.encoded_images(size=size, stored_size=28).decode_all().take(np.array([5, 1, 8, 2]))
    transforms = (RandomResizedCrop(interpolation=interpolation, erasing=0.5), CenterCrop(interpolation=interpolation))
    for transform in transforms:
        host, device = (kind(samples, "cpu", transform=transform, **tools.PLAIN) for kind in (HostLoader, DeviceLoader))
        ids = np.array([3, 0, 1, 2])
        one, other = (loader.fetch(ids, 4) for loader in (host, device))
        away = (tools.grey_levels(one.images) - tools.grey_levels(other.images)).abs()
        assert away.max() <= 2
        assert (away > 0).float().mean() < 0.1
        assert torch.equal(one.labels, other.labels)


@pytest.mark.parametrize(
    ("stored", "transform", "wanted", "kind"),
    [
        (None, RandomResizedCrop(), None, HostLoader),
        (28, RandomResizedCrop(), None, HostLoader),  # the device is the CPU: workers are quicker
        (28, RandomResizedCrop(), True, DeviceLoader),
        (28, CenterCrop(), True, DeviceLoader),
        (None, RandomResizedCrop(), True, ConfigError),
        (28, RandomResizedCrop(colour=ColorJitter(hue=0.1)), True, ConfigError),
    ],
)
def test_where_encoded_images_are_kept(stored, transform, wanted, kind):
    samples = tools.encoded_images(stored_size=stored)
    samples = samples.decode_all() if stored else samples
    if kind is ConfigError:
        with pytest.raises(ConfigError, match=r"hardware.data_on_device: .*dataset.stored_size=160"):
            build_loader(samples, device="cpu", transform=transform, on_device=wanted, **tools.PLAIN)
    else:
        assert type(build_loader(samples, device="cpu", transform=transform, on_device=wanted, **tools.PLAIN)) is kind


def test_squares_that_do_not_fit_are_made_anew(tmp_path, monkeypatch, capsys):
    tools.folders(tmp_path, tools.samples())
    kept = load_folder(str(tmp_path), size=16, stored_size=20)
    assert "squares of 20 px kept in memory (0.00 GB)" in kept.source
    monkeypatch.setattr(memory, "available", lambda: 2 * kept.train.decoded_bytes)
    anew = load_folder(str(tmp_path), size=16, stored_size=20)
    assert "squares of 20 px need 0.00 GB, more than half of the" in capsys.readouterr().err
    assert kept.train.table is not None
    assert anew.train.table is None
    one, other = (HostLoader(d.train, "cpu", transform=RandomResizedCrop(), **tools.PLAIN) for d in (kept, anew))
    assert torch.equal(one.fetch(np.arange(24), 1).images, other.fetch(np.arange(24), 1).images)


def test_free_memory_is_told():
    assert memory.available() is None or 1e8 < memory.available() < 1e14


def test_fingerprint_sees_labels_names_size_and_content():
    def mark(**change):
        samples = tools.encoded_images(**{"count": 6, **{k: v for k, v in change.items() if k != "names"}})
        if "names" in change:
            samples = EncodedImages(samples.store, samples.labels, samples.names[::-1], samples.size)
        return Dataset("x", samples, tools.encoded_images(3, size=samples.size), ("a", "b", "c"), "here").fingerprint

    images = [tools.encode(tools.image(9))] * 6
    assert len({mark(), mark(count=5), mark(size=20), mark(names=True), mark(images=images)}) == 5
    assert mark() == mark()


def test_soft_labels_travel_with_the_pictures():
    soft = np.random.default_rng(0).dirichlet(np.ones(3), 12).astype(np.float32)
    samples = EncodedImages(tools.encoded_images().store, soft, tools.encoded_images().names, 16).take(
        np.arange(11, -1, -1)
    )
    batch = HostLoader(samples, "cpu", transform=CenterCrop(), **tools.PLAIN).fetch(np.array([0, 3]), 0)
    assert np.array_equal(batch.labels.numpy(), soft[[11, 8]])
