from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2, chisquare, norm

from ast_experiments.core.errors import ConfigError
from ast_experiments.data.flip import mirrored
from ast_experiments.data.in_memory.transforms import DeviceCropper, PadCropFlip, pad
from ast_experiments.data.loaders.normalise import Normalise
from ast_experiments.data.rng import draw

IDS = torch.arange(50_000)
MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15


def mix(z):
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def reference(seed, epoch, sample, stream, high):
    """The same draw in unbounded integers."""
    key = 0
    for part in (seed, epoch, stream):
        key = mix((key * GOLDEN + part + GOLDEN) & MASK)
    return ((mix((sample * GOLDEN + key) & MASK) >> 32) * high) >> 32


def test_the_reference_is_splitmix64():
    assert mix(GOLDEN) == 0xE220A8397B1DCDAF  # first number of the published generator from state 0


PINNED = {
    (0, 0, 0): (77, 1938390537),
    (0, 0, 1): (142, 1159263609),
    (0, 1, 0): (62, 1915781403),
    (1, 0, 0): (120, 235253585),
    (7, 3, 49_999): (132, 25699540),
    (2**63 - 1, 199, 2**40): (124, 1867762997),
}


@pytest.mark.parametrize(("place", "expected"), PINNED.items())
def test_draws_never_change(place, expected):
    seed, epoch, sample = place
    ids = torch.tensor([sample])
    assert (int(draw(seed, epoch, ids, 0, 162)), int(draw(seed, epoch, ids, 1, 2**31))) == expected


@given(
    seed=st.integers(0, 2**63 - 1),
    epoch=st.integers(0, 2**31),
    sample=st.integers(0, 2**62),
    stream=st.integers(0, 100),
    high=st.integers(1, 2**31),
)
def test_draws_match_the_reference(seed, epoch, sample, stream, high):
    drawn = int(draw(seed, epoch, torch.tensor([sample]), stream, high))
    assert drawn == reference(seed, epoch, sample, stream, high)
    assert 0 <= drawn < high


PLACES = [(0, 0, 0), (0, 1, 0), (1, 0, 0), (0, 0, 1), (123_456, 99, 5)]


@pytest.mark.parametrize(("place", "high"), list(product(PLACES, [2, 9, 162])))
def test_draws_are_uniform(place, high):
    seed, epoch, stream = place
    counts = torch.bincount(draw(seed, epoch, IDS, stream, high), minlength=high)
    assert chisquare(counts.numpy()).pvalue > 1e-3


@pytest.mark.parametrize("other", [(0, 1, 0), (0, 2, 0), (1, 0, 0), (2, 1, 0), (0, 0, 1), (1, 1, 1)], ids=str)
def test_epochs_seeds_and_streams_are_independent(other):
    seed, epoch, stream = other
    pairs = 9 * draw(0, 0, IDS, 0, 9) + draw(seed, epoch, IDS, stream, 9)
    assert chisquare(torch.bincount(pairs, minlength=81).numpy()).pvalue > 1e-3


@pytest.mark.parametrize("lag", [1, 2, 10, 128, 1024])
def test_ids_are_independent(lag):
    values = draw(0, 0, IDS, 0, 9)
    assert chisquare(torch.bincount(9 * values[lag:] + values[:-lag], minlength=81).numpy()).pvalue > 1e-3


def test_one_sample_over_the_epochs_is_uniform():
    ids = torch.arange(200)
    values = torch.stack([draw(5, epoch, ids, 0, 9) for epoch in range(90)])
    counts = torch.stack([torch.bincount(values[:, i], minlength=9) for i in range(200)]).double()
    statistic = float(((counts - 10) ** 2 / 10).sum())
    assert 1e-3 < chi2.cdf(statistic, 200 * 8) < 1 - 1e-3


def test_every_bit_is_fair():
    bits = draw(3, 4, IDS, 0, 2**31)
    for k in range(31):
        ones = int(((bits >> k) & 1).sum())
        assert abs(ones - 25_000) < norm.ppf(1 - 1e-4) * np.sqrt(12_500)


def table(rows=40, shape=(6, 5, 3)):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (rows, *shape), dtype=torch.uint8, generator=generator)


def by_hand(images, sample, augment, seed, epoch):
    """The plain way: pad, cut, mirror."""
    p = augment.padding
    choice = reference(seed, epoch, sample, 0, 2 * (2 * p + 1) ** 2)
    place, mirrored = divmod(choice, 2)
    y, x = divmod(place, 2 * p + 1)
    height, width, _ = images.shape[1:]
    padded = np.pad(images[sample].numpy(), ((p, p), (p, p), (0, 0)))
    cut = padded[y : y + height, x : x + width]
    return cut[:, ::-1] if mirrored and augment.flip else cut


@pytest.mark.parametrize(("padding", "flip"), list(product([0, 1, 4], [False, True])))
@pytest.mark.parametrize("channels", [1, 3])
def test_crops_are_those_of_the_plain_way(padding, flip, channels):
    images, augment = table(shape=(6, 5, channels)), PadCropFlip(padding, flip)
    ids = torch.tensor([3, 39, 0, 3, 17, 22, 8])
    made = DeviceCropper(images, augment, 11)(ids, 2).numpy()
    expected = np.stack([by_hand(images, int(i), augment, 11, 2) for i in ids])
    np.testing.assert_array_equal(made, expected)


def test_flipping_leaves_the_crops_as_they_are():
    plain = DeviceCropper(table(), PadCropFlip(2, False), 0)(torch.arange(40), 0)
    mirrored = DeviceCropper(table(), PadCropFlip(2, True), 0)(torch.arange(40), 0)
    same = (plain == mirrored).flatten(1).all(1)
    assert 0 < same.sum() < 40
    assert torch.equal(plain[~same].flip(2), mirrored[~same])


@given(ids=st.lists(st.integers(0, 39), min_size=1, max_size=30), parts=st.integers(1, 5))
def test_any_order_and_split_gives_the_same_pictures(ids, parts):
    crops = DeviceCropper(table(), PadCropFlip(2, True), 4)
    whole = crops(torch.arange(40), 5)
    made = [crops(part, 5) for part in torch.tensor(ids).chunk(parts)]
    assert torch.equal(torch.cat(made), whole[torch.tensor(ids)])
    planned = crops.plan(torch.tensor(ids), 5)
    made = [crops.apply(*part) for part in zip(*(each.chunk(parts) for each in planned), strict=True)]
    assert torch.equal(torch.cat(made), whole[torch.tensor(ids)])


def test_no_augmentation_is_the_image_itself():
    ids = torch.tensor([5, 2])
    assert torch.equal(DeviceCropper(table(), PadCropFlip(), 0)(ids, 0), table()[ids])


def test_normalise():
    pictures, mean, std = table(), [0.1, 0.5, 0.9], [0.2, 0.3, 1.5]
    made = Normalise(mean, std, (6, 5, 3))(pictures)
    expected = (pictures.permute(0, 3, 1, 2).double() / 255 - torch.tensor(mean).view(3, 1, 1)) / (
        torch.tensor(std).view(3, 1, 1)
    )
    assert made.dtype == torch.float32
    assert made.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(made.double(), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", [(6, 5, 3), (7, 7, 1), (32, 32, 3)])
def test_normalised_bits_do_not_depend_on_the_place_in_a_batch(shape):
    pictures = table(67, shape)
    normalise = Normalise([0.4] * shape[2], [0.3] * shape[2], shape)
    alone = torch.cat([normalise(picture[None]) for picture in pictures])
    assert torch.equal(alone, normalise(pictures))


@pytest.mark.parametrize(("mean", "std"), [([0.5], [0.5]), ([0.5] * 3, [0.5]), ([0.5] * 3, [0.5, 0.5, 0]), ([], [])])
def test_normalise_refuses_other_numbers_of_channels(mean, std):
    with pytest.raises(ValueError, match="must hold 3 numbers"):
        Normalise(mean, std, (6, 5, 3))


def test_negative_padding_is_refused():
    with pytest.raises(ValueError, match="padding"):
        PadCropFlip(-1)


def test_alternating_flips_show_both_sides_in_two_epochs():
    crops = [DeviceCropper(table(), PadCropFlip(0, "alternating"), 3)(torch.arange(40), epoch) for epoch in range(4)]
    assert torch.equal(crops[0], crops[2])
    assert torch.equal(crops[1], crops[3])
    assert torch.equal(crops[0].flip(2), crops[1])
    kept = (crops[0] == table()).flatten(1).all(1)
    assert torch.equal(crops[0][~kept], table().flip(2)[~kept])


def test_alternating_flips_are_a_function_of_seed_sample_and_epoch():
    def flips(seed, epoch, ids):
        return mirrored("alternating", torch.zeros(len(ids), dtype=torch.bool), seed, epoch, ids)

    first = flips(0, 0, IDS)
    assert abs(int(first.sum()) - 25_000) < 500
    order = torch.randperm(len(IDS), generator=torch.Generator().manual_seed(0))
    assert torch.equal(flips(0, 0, order), first[order])
    assert torch.equal(flips(0, 1, IDS), ~first)
    assert abs(int((flips(1, 0, IDS) ^ first).sum()) - 25_000) < 500


def test_alternating_flips_follow_the_visits_of_each_sample():
    visits = torch.randint(0, 9, IDS.shape, generator=torch.Generator().manual_seed(0))
    by_chance = torch.zeros(len(IDS), dtype=torch.bool)
    sides = torch.stack([mirrored("alternating", by_chance, 0, turn, IDS) for turn in (0, 1)])
    assert torch.equal(mirrored("alternating", by_chance, 0, visits, IDS), sides[visits % 2, IDS])


def test_alternating_flips_leave_the_crops_as_they_are():
    plain = DeviceCropper(table(), PadCropFlip(2, False), 0)(torch.arange(40), 5)
    flipped = DeviceCropper(table(), PadCropFlip(2, "alternating"), 0)(torch.arange(40), 5)
    same = (plain == flipped).flatten(1).all(1)
    assert 0 < same.sum() < 40
    assert torch.equal(plain[~same].flip(2), flipped[~same])


@pytest.mark.parametrize("padding", [0, 1, 4])
def test_reflected_padding_is_numpys(padding):
    images = table(shape=(6, 5, 3))
    wide = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    np.testing.assert_array_equal(pad(images, padding, "reflect").numpy(), np.pad(images.numpy(), wide, "reflect"))
    np.testing.assert_array_equal(pad(images, padding).numpy(), np.pad(images.numpy(), wide))


def test_reflected_crops_are_cut_from_reflected_images():
    augment = PadCropFlip(2, False, "reflect")
    made = DeviceCropper(table(), augment, 0)(torch.arange(40), 1).numpy()
    padded = np.pad(table().numpy(), ((0, 0), (2, 2), (2, 2), (0, 0)), "reflect")
    for sample in range(40):
        y, x = divmod(reference(0, 1, sample, 0, 50) // 2, 5)
        np.testing.assert_array_equal(made[sample], padded[sample, y : y + 6, x : x + 5])


def test_an_image_cannot_be_reflected_further_than_it_is_wide():
    assert pad(table(shape=(6, 5, 3)), 4, "reflect").shape == (40, 14, 13, 3)
    with pytest.raises(ConfigError, match=r"5 pixels cannot be reflected .* type dataset\.padding_mode=constant"):
        pad(table(shape=(6, 5, 3)), 5, "reflect")


@pytest.mark.gpu
def test_a_gpu_draws_the_same():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    assert torch.equal(draw(7, 8, IDS.cuda(), 0, 162).cpu(), draw(7, 8, IDS, 0, 162))
