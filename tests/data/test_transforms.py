"""Pictures against torchvision and plain implementations, and what their draws depend on."""

import math

import image_tools as tools
import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as vision

from ast_experiments.data.encoded.colour import ColorJitter
from ast_experiments.data.encoded.decode import EncodedImage
from ast_experiments.data.encoded.erasing import erase
from ast_experiments.data.encoded.transforms import CenterCrop, RandomResizedCrop
from ast_experiments.data.loaders.base import PlannedBatches
from ast_experiments.data.loaders.host import HostLoader
from ast_experiments.data.loaders.transforms import build_transforms
from ast_experiments.data.rng import uniform

IDS = torch.arange(4000)
SIZES = torch.tensor([[375, 500], [500, 375], [100, 400], [224, 224]]).repeat(1000, 1)
BUSY = RandomResizedCrop(colour=ColorJitter(0.4, 0.4, 0.4, 0.1, 0.1), erasing=0.25)


def test_uniform_draws():
    draws = uniform(3, 2, IDS, 1, 5)
    assert draws.shape == (4000, 5)
    assert 0 <= draws.min() < draws.max() < 1
    assert (draws.mean(0) - 0.5).abs().max() < 0.02
    assert (torch.corrcoef(draws.T) - torch.eye(5)).abs().max() < 0.06
    assert torch.equal(uniform(3, 2, IDS[[7, 3]], 1, 5), draws[[7, 3]])
    assert torch.equal(uniform(3, 2, IDS, 1, 2), draws[:, :2])
    others = [uniform(4, 2, IDS, 1, 5), uniform(3, 1, IDS, 1, 5), uniform(3, 2, IDS, 2, 5)]
    assert all((torch.corrcoef(torch.cat([draws[:, :1], o[:, :1]], 1).T)[0, 1]).abs() < 0.06 for o in others)


def test_random_parts_have_the_shares_and_ratios_asked_for():
    plans = RandomResizedCrop((0.1, 0.9), (0.5, 2.0)).draw_crops(SIZES, IDS, 0, 0)
    top, left, height, width, mirrored = plans.unbind(1)
    tall, wide = SIZES.double().unbind(1)
    assert torch.equal(plans, plans.round())
    assert ((top >= 0) & (left >= 0) & (top + height <= tall) & (left + width <= wide)).all()
    square = tall == wide
    share, ratio = (height * width / (tall * wide))[square], (width / height)[square]
    assert (share.aminmax().min - 0.1).abs() < 0.02
    assert (share.aminmax().max - 0.88).abs() < 0.03
    assert (ratio.aminmax().min - 0.52).abs() < 0.03
    assert (ratio.aminmax().max - 1.92).abs() < 0.12
    assert abs(mirrored.mean() - 0.5) < 0.03
    assert len(torch.unique(top)) > 100
    places = top[square] / (tall - height + 1)[square]
    assert abs(places.mean() - 0.48) < 0.04


def by_attempts(tall, wide, scale, ratio, numbers):
    """Ten tries in a row, as in the paper's description; numbers are used up in order."""
    for area, shape, down, across in np.reshape(numbers, (10, 4)):
        pixels = tall * wide * (scale[0] + (scale[1] - scale[0]) * area)
        aspect = math.exp(math.log(ratio[0]) + (math.log(ratio[1]) - math.log(ratio[0])) * shape)
        width, height = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
        if 0 < width <= wide and 0 < height <= tall:
            return [int((tall - height + 1) * down), int((wide - width + 1) * across), height, width]
    if wide / tall < ratio[0]:
        width, height = wide, round(wide / ratio[0])
    elif wide / tall > ratio[1]:
        width, height = round(tall * ratio[1]), tall
    else:
        width, height = wide, tall
    return [(tall - height) // 2, (wide - width) // 2, height, width]


def test_random_parts_are_those_of_a_plain_implementation():
    scale, ratio = (0.7, 1.0), (0.75, 1.25)
    plans = RandomResizedCrop(scale, ratio, flip=False).draw_crops(SIZES, IDS, 7, 3)
    numbers = uniform(7, 3, IDS, 1, 41).double().numpy()[:, :40]
    expected = [by_attempts(*size, scale, ratio, row) for size, row in zip(SIZES.tolist(), numbers, strict=True)]
    assert plans[:, :4].tolist() == expected
    assert not plans[:, 4].any()
    fallback = [e for e, s in zip(expected, SIZES.tolist(), strict=True) if s == [100, 400] and e[2:] == [100, 125]]
    assert fallback, "no image made use of the middle"


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_training_pictures_are_torchvisions_of_the_same_part(interpolation):
    samples, transform = tools.encoded_images(), RandomResizedCrop(interpolation=interpolation)
    ids = torch.arange(12)
    made = transform.load(samples, ids, 0, 0)
    sizes = torch.tensor([[30 + row, 50 - row] for row in range(12)])
    mode = v2.InterpolationMode(interpolation)
    for row, plan in enumerate(transform.draw_crops(sizes, ids, 0, 0).int().tolist()):
        whole = EncodedImage(samples.read(row), "").crop(0, 0, *sizes[row]).permute(2, 0, 1)
        expected = vision.resized_crop(whole, *plan[:4], [16, 16], mode, antialias=True)
        expected = vision.horizontal_flip(expected) if plan[4] else expected
        assert (made[row].permute(2, 0, 1).int() - expected.int()).abs().max() <= 1


@pytest.mark.parametrize(("share", "size", "scaled"), [(0.875, 16, 18), (1.0, 16, 16), (0.875, 64, 73)])
def test_validation_pictures_are_torchvisions(share, size, scaled):
    samples = tools.encoded_images(size=size)
    reference = v2.Compose([v2.Resize(scaled, antialias=True), v2.CenterCrop(size)])
    made = CenterCrop(share).load(samples, torch.arange(12), 0, 0)
    for row in range(12):
        whole = EncodedImage(samples.read(row), "").crop(0, 0, 30 + row, 50 - row).permute(2, 0, 1)
        assert torch.equal(made[row].permute(2, 0, 1), reference(whole))


@pytest.mark.parametrize("workers", [0, 2])
def test_pictures_depend_on_seed_epoch_and_id_alone(workers):
    loader = HostLoader(tools.encoded_images(), "cpu", transform=BUSY, **tools.PLAIN, workers=workers)
    expected = HostLoader(tools.encoded_images(), "cpu", transform=BUSY, **tools.PLAIN).fetch(np.arange(12), 3).images
    order = np.random.default_rng(0).permutation(12)
    for size, start in ((5, 0), (4, 1)):
        batches = list(loader.batches(PlannedBatches(order, size, start=start, keep_short=True), 3))
        assert torch.equal(torch.cat([b.images for b in batches]), expected[order[start * size :]])
    assert not torch.equal(loader.fetch(np.arange(12), 4).images, expected)
    again = HostLoader(tools.encoded_images(), "cpu", transform=BUSY, **tools.PLAIN | {"seed": 6})
    assert not torch.equal(again.fetch(np.arange(12), 3).images, expected)


def test_a_switch_leaves_the_other_draws_alone():
    def made(**settings):
        return tools.grey_levels(
            HostLoader(tools.encoded_images(), "cpu", transform=RandomResizedCrop(**settings), **tools.PLAIN)
            .fetch(IDS[:12], 0)
            .images
        )

    plain = made(flip=False)
    mirrored = made().flip(3)
    assert all(torch.equal(p, m) or torch.equal(p, m.flip(2)) for p, m in zip(plain, mirrored, strict=True))
    bright = made(flip=False, colour=ColorJitter(brightness=0.9))
    assert not torch.equal(bright, plain)
    erased = made(flip=False, erasing=1.0)
    hole = (erased == 128).all(1) & (plain != 128).any(1)
    assert torch.equal(erased.masked_fill(hole[:, None], 0), plain.masked_fill(hole[:, None], 0))


PICTURE = torch.from_numpy(tools.image(3, 24, 24))
HALF = [0.5] * 6


@pytest.mark.parametrize(
    ("colour", "draws", "expected"),
    [
        (ColorJitter(brightness=0.4), [0, 0.75, 0, 0, 0, 0.9], lambda i: vision.adjust_brightness(i, 1.2)),
        (ColorJitter(brightness=1.5), [0, 0.2, 0, 0, 0, 0.9], lambda i: vision.adjust_brightness(i, 0.5)),
        (ColorJitter(contrast=0.4), [0, 0, 0.0, 0, 0, 0.9], lambda i: vision.adjust_contrast(i, 0.6)),
        (ColorJitter(saturation=0.4), [0, 0, 0, 1.0, 0, 0.9], lambda i: vision.adjust_saturation(i, 1.4)),
        (ColorJitter(hue=0.1), [0, 0, 0, 0, 0.25, 0.9], lambda i: vision.adjust_hue(i, -0.05)),
        (ColorJitter(grey=0.1), [0, 0, 0, 0, 0, 0.05], lambda i: vision.rgb_to_grayscale(i, 3)),
        (ColorJitter(grey=0.1), [0, 0, 0, 0, 0, 0.1], lambda i: i),
        (ColorJitter(0.4, 0, 0.4), [0.0, 1.0, 0, 1.0, 0, 0.9],  # the first order
         lambda i: vision.adjust_saturation(vision.adjust_brightness(i, 1.4), 1.4)),
        (ColorJitter(0.4, 0, 0.4), [0.999, 1.0, 0, 1.0, 0, 0.9],  # the last order
         lambda i: vision.adjust_brightness(vision.adjust_saturation(i, 1.4), 1.4)),
    ],
)  # fmt: skip
def test_colours_change_as_torchvision_changes_them(colour, draws, expected):
    image = expected(vision.to_pil_image(PICTURE.permute(2, 0, 1)))
    made = colour.change(PICTURE, draws)
    assert torch.equal(made, vision.pil_to_tensor(image).permute(1, 2, 0))


def test_erased_rectangles():
    images = torch.ones(4000, 1, 20, 30)
    erased = erase(images, IDS, 0.25, 1, 2) == 0
    hit = erased.flatten(1).any(1)
    assert abs(hit.float().mean() - 0.25) < 0.03
    areas, ratios = [], []
    for mask in erased[hit][:, 0]:
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        assert mask.sum() == len(rows) * len(columns)
        assert len(rows) == rows[-1] - rows[0] + 1
        areas.append(len(rows) * len(columns) / 600)
        ratios.append(len(rows) / len(columns))
    assert 0.01 < min(areas) < 0.03
    assert 0.30 < max(areas) < 0.36
    assert abs(np.mean(areas) - 0.17) < 0.02
    assert min(ratios) < 0.45
    assert max(ratios) > 2.2
    assert torch.equal(erase(images[:3], IDS[hit][:3], 0.25, 1, 2) == 0, erased[hit][:3])
    assert torch.equal(images, torch.ones_like(images))


def test_build_transforms():
    settings = {"crop_scale": [0.2, 1.0], "crop_ratio": [0.5, 2.0], "crop_share": 0.9, "horizontal_flip": False}
    settings |= {"interpolation": "bicubic", "erasing": 0.25}
    colours = {"brightness": 0.4, "contrast": 0.3, "saturation": 0.2, "hue": 0.1, "grey": 0.05}
    train, val = build_transforms(settings | colours)
    assert train == RandomResizedCrop((0.2, 1.0), (0.5, 2.0), False, "bicubic", ColorJitter(**colours), 0.25)
    assert val == CenterCrop(0.9, "bicubic")


def test_alternating_flips_leave_the_crops_as_they_are():
    sizes, ids = torch.full((50, 2), 64), torch.arange(50)
    chance, even, odd = (
        RandomResizedCrop(flip=flip).draw_crops(sizes, ids, 3, epoch)
        for flip, epoch in ((True, 2), ("alternating", 2), ("alternating", 3))
    )
    assert torch.equal(chance[:, :4], even[:, :4])
    assert torch.equal(even[:, 4], 1 - odd[:, 4])
    visited = RandomResizedCrop(flip="alternating").draw_crops(sizes, ids, 3, 9, ids % 2)
    assert torch.equal(visited[:, 4], torch.where(ids % 2 == 1, odd[:, 4], even[:, 4]))
    assert 10 < even[:, 4].sum() < 40
