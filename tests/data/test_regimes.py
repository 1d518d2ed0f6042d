"""Regimes: exact numbers of altered rows, the same for a seed, on every path to an image, and nothing when off."""

from __future__ import annotations

import dataclasses
from typing import Any

import image_tools as tools
import numpy as np
import pytest

from ast_experiments.core.errors import ConfigError
from ast_experiments.data.build import hold_out
from ast_experiments.data.corruption import corrupt
from ast_experiments.data.dataset import Dataset, Images
from ast_experiments.data.encoded.transforms import CenterCrop, RandomResizedCrop
from ast_experiments.data.loaders.placement import build_loader
from ast_experiments.data.regimes import Regime, apply

CLASSES = 10


def made(rows: int = 1000, side: int = 12) -> Dataset:
    """Images whose first pixel tells their row, in classes of equal size."""
    images = np.random.default_rng(0).integers(0, 256, (rows, side, side, 3)).astype(np.uint8)
    images[:, 0, 0, :2] = np.stack([np.arange(rows) // 256, np.arange(rows) % 256], 1)
    train = Images(images, np.arange(rows) % CLASSES)
    return Dataset("made", train, train.first(min(rows, 5)), tuple("abcdefghij"), "here")


def rows_of(samples: Any) -> np.ndarray:
    """The rows that the images had before."""
    return samples.images[:, 0, 0, 0].astype(np.int64) * 256 + samples.images[:, 0, 0, 1]


def test_nothing_is_done_by_default() -> None:
    dataset = made()
    assert apply(dataset, Regime(regime_seed=3, label_noise_kind="pairs")) is dataset


@pytest.mark.parametrize(
    "settings",
    [
        {"label_noise": 0.2}, {"label_noise": 0.2, "label_noise_kind": "pairs"}, {"duplicates": 0.8},
        {"imbalance": 50.0}, {"corruption": 0.2},
        {"label_noise": 0.1, "duplicates": 0.5, "imbalance": 5.0, "corruption": 0.3},
    ],
    ids=str,
)  # fmt: skip
def test_a_regime_is_a_function_of_its_seed_and_in_the_fingerprint(settings: dict[str, Any]) -> None:
    dataset = made()
    one, same, other = (apply(dataset, Regime(**settings, regime_seed=seed)) for seed in (1, 1, 2))
    assert one.val is dataset.val
    np.testing.assert_array_equal(one.train.images, same.train.images)  # pyright: ignore[reportAttributeAccessIssue]
    np.testing.assert_array_equal(one.train.labels, same.train.labels)
    assert one.fingerprint == same.fingerprint
    assert len({dataset.fingerprint, one.fingerprint, other.fingerprint}) == 3
    assert dataset.fingerprint == made().fingerprint, "the data that was given has changed"


def test_a_few_corrupted_images_are_in_the_fingerprint() -> None:
    marks = {apply(made(), Regime(corruption=0.001, regime_seed=seed)).fingerprint for seed in range(4)}
    assert len({made().fingerprint, *marks}) == 5


def test_symmetric_noise_is_exact_and_reaches_all_other_classes() -> None:
    before = made(5000)
    after = apply(before, Regime(label_noise=0.2))
    wrong = after.altered["label_noise"]
    np.testing.assert_array_equal(wrong, after.train.labels != before.train.labels)
    assert wrong.sum() == 1000
    steps = np.bincount((after.train.labels - before.train.labels)[wrong] % CLASSES, minlength=CLASSES)
    assert steps[0] == 0
    assert np.all(np.abs(steps[1:] - 1000 / 9) < 4 * np.sqrt(1000 / 9))


def test_noise_in_pairs_takes_the_next_class() -> None:
    before = made()
    after = apply(before, Regime(label_noise=0.3, label_noise_kind="pairs"))
    wrong = after.altered["label_noise"]
    assert wrong.sum() == 300
    np.testing.assert_array_equal(after.train.labels[wrong], (before.train.labels[wrong] + 1) % CLASSES)
    assert {*after.train.labels[wrong & (before.train.labels == 9)]} == {0}


def test_duplicates_repeat_rows_of_their_class() -> None:
    before = made()
    after = apply(before, Regime(duplicates=0.8))
    copies, source = after.altered["duplicates"], rows_of(after.train)
    assert copies.sum() == 800
    np.testing.assert_array_equal(source != np.arange(1000), copies)
    assert not copies[source].any(), "a copy of a copy"
    np.testing.assert_array_equal(after.train.labels, before.train.labels)
    np.testing.assert_array_equal(before.train.labels[source], before.train.labels)


def test_classes_of_few_rows_keep_one() -> None:
    after = apply(made(40), Regime(duplicates=0.75))
    assert after.altered["duplicates"].sum() == 30
    assert len(np.unique(rows_of(after.train))) == 10


def test_a_long_tail_has_the_sizes_of_the_formula() -> None:
    after = apply(made(), Regime(imbalance=50.0))
    # 100 x 50^(-k/9)
    assert np.bincount(after.train.labels).tolist() == [100, 65, 42, 27, 18, 11, 7, 5, 3, 2]
    assert np.all(np.diff(rows_of(after.train)) > 0), "not in the order of the data set"
    np.testing.assert_array_equal(after.altered["tail"], after.train.labels >= 5)


def test_a_long_tail_of_unequal_classes_takes_what_the_scarcest_allows() -> None:
    labels = np.repeat([0, 1, 2], [100, 20, 50])
    dataset = made(len(labels))
    train = dataset.train.with_labels(labels)
    dataset = dataclasses.replace(dataset, train=train, val=train.first(5), classes=("a", "b", "c"))
    after = apply(dataset, Regime(imbalance=4.0))
    assert np.bincount(after.train.labels).tolist() == [40, 20, 10]  # class 1 has 20, the others 2 and 1/2 times that
    np.testing.assert_array_equal(labels[rows_of(after.train)], after.train.labels)


def test_corruption_changes_the_drawn_images_alone() -> None:
    before = made()
    after = apply(before, Regime(corruption=0.2))
    changed = (after.train.images != before.train.images).any((1, 2, 3))  # pyright: ignore[reportAttributeAccessIssue]
    np.testing.assert_array_equal(changed, after.altered["corruption"])
    assert changed.sum() == 200
    np.testing.assert_array_equal(after.train.labels, before.train.labels)


@pytest.mark.parametrize("shape", [(8, 8, 1), (32, 32, 3), (40, 60, 3)], ids=str)
def test_half_of_the_corrupted_images_are_blurred_and_the_others_noisy(shape: tuple[int, int, int]) -> None:
    flat = np.full(shape, 128, np.uint8)
    made = [corrupt(flat, row, 0) for row in range(400)]
    noisy = [image for image in made if (image != flat).any()]
    assert abs(len(noisy) - 200) < 40
    assert np.std(np.stack(noisy) / 255.0) == pytest.approx(0.2, rel=0.05)
    edge = flat.copy()
    edge[:, shape[1] // 2 :] = 255
    blurred = next(image for row, image in enumerate(corrupt(edge, row, 0) for row in range(400))
                   if (corrupt(flat, row, 0) == flat).all())  # fmt: skip
    assert blurred.shape == shape
    steps = np.abs(np.diff(blurred.astype(int), axis=1)).max()
    assert 0 < steps < 127, "the edge is as sharp as before"


def test_regimes_together_keep_their_numbers() -> None:
    after = apply(made(), Regime(label_noise=0.25, duplicates=0.5, imbalance=10.0, corruption=0.1))
    rows = len(after.train)
    counts = {kind: int(flags.sum()) for kind, flags in after.altered.items()}
    assert counts["duplicates"] == round(0.5 * rows)
    assert counts["label_noise"] == round(0.25 * rows)
    assert counts["corruption"] == round(0.1 * rows)
    assert after.source == (
        f"here; of {rows} training rows altered: tail {counts['tail']}, duplicates {counts['duplicates']}, "
        f"label noise {counts['label_noise']}, corruption {counts['corruption']}"
    )


def test_a_regime_does_not_change_the_draws_of_another() -> None:
    one = apply(made(), Regime(label_noise=0.2))
    both = apply(made(), Regime(label_noise=0.2, corruption=0.2, duplicates=0.5))
    np.testing.assert_array_equal(one.train.labels, both.train.labels)


def test_held_out_rows_are_of_the_regime_too() -> None:
    before = made()
    whole = apply(before, Regime(label_noise=0.2, corruption=0.1))
    after, held = hold_out(whole, 0.3)
    assert held is not None
    rows = rows_of(hold_out(before, 0.3)[0].train)
    for kind, flags in whole.altered.items():
        np.testing.assert_array_equal(after.altered[kind], flags[rows])
    held_rows = np.setdiff1d(np.arange(1000), rows)
    wrong = held.labels != before.train.labels[held_rows]
    np.testing.assert_array_equal(wrong, whole.altered["label_noise"][held_rows])


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        (10, {"label_noise": 0.01}, "dataset.label_noise: 0.01 of 10 training rows is none; type dataset.label_noise="),
        (10, {"corruption": 0.01}, "dataset.corruption: 0.01 of 10 training rows is none"),
        (40, {"duplicates": 0.9}, r"dataset.duplicates: 36 of 40 rows leave .* each of 10 .*=0.75 or less"),
        (40, {"imbalance": 50.0}, "dataset.imbalance: 50 leaves class 5 without a row of 4; type a smaller"),
        (9, {"imbalance": 2.0}, "dataset.imbalance: 2 leaves class 0 without a row"),
    ],
)
def test_what_the_data_is_too_small_for_is_said(rows: int, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        apply(made(rows), Regime(**settings))
    assert "\n" not in str(caught.value)


def test_one_class_has_no_wrong_label() -> None:
    train = made(10).train.with_labels(np.zeros(10, np.int64))
    one = Dataset("one", train, train, ("a",), "here")
    with pytest.raises(ConfigError, match="one class only"):
        apply(one, Regime(label_noise=0.5))


def encoded(**settings: Any) -> Dataset:
    train = tools.encoded_images(12, **settings)
    return Dataset("encoded", train, train.take(np.arange(3)), ("a", "b", "c"), "here")


@pytest.mark.parametrize("settings", [{}, {"duplicates": 0.5}], ids=str)
def test_squares_are_corrupted_alike_in_memory_and_on_demand(settings: dict[str, Any]) -> None:
    regime = Regime(corruption=0.5, **settings)
    demand = apply(encoded(stored_size=24), regime)
    plain = encoded(stored_size=24)
    table = apply(dataclasses.replace(plain, train=plain.train.decode_all()), regime)  # pyright: ignore[reportAttributeAccessIssue]
    assert demand.fingerprint == table.fingerprint
    ids = np.arange(12)
    for transform in (CenterCrop(), RandomResizedCrop()):
        how: dict[str, Any] = {**tools.PLAIN, "transform": transform, "device": "cpu"}
        images = [
            tools.grey_levels(build_loader(split.train, on_device=on_device, **how).fetch(ids, 1).images)
            for split, on_device in ((demand, False), (table, False), (table, True))
        ]
        assert (images[0] == images[1]).all()
        assert (images[1] - images[2]).abs().max() <= 2
    before = plain.train.take(rows_shown(table, plain))
    for row, changed in enumerate(demand.altered["corruption"]):
        image, original = (samples.image(row).crop(0, 0, 24, 24) for samples in (demand.train, before))  # pyright: ignore[reportAttributeAccessIssue]
        assert (image != original).any() == changed


def rows_shown(after: Dataset, before: Dataset) -> np.ndarray:
    names = list(before.train.names)  # pyright: ignore[reportAttributeAccessIssue]
    return np.array([names.index(name) for name in after.train.names])  # pyright: ignore[reportAttributeAccessIssue]


def test_images_of_any_size_are_corrupted_when_they_are_decoded() -> None:
    before, after = encoded(), apply(encoded(), Regime(corruption=0.5))
    for row, changed in enumerate(after.altered["corruption"]):
        was, is_now = (split.train.image(row) for split in (before, after))  # pyright: ignore[reportAttributeAccessIssue]
        assert (is_now.height, is_now.width) == (was.height, was.width)
        pixels = was.crop(0, 0, was.height, was.width)
        expected = corrupt(pixels.numpy(), row, 0) if changed else pixels.numpy()
        np.testing.assert_array_equal(is_now.crop(0, 0, was.height, was.width).numpy(), expected)


def test_a_held_out_image_stays_as_corrupted_as_it_was() -> None:
    whole = apply(encoded(), Regime(corruption=0.5)).train
    some = whole.take(np.array([7, 2, 9]))
    for place, row in enumerate((7, 2, 9)):
        image, same = some.image(place), whole.image(row)  # pyright: ignore[reportAttributeAccessIssue]
        size = (0, 0, same.height, same.width)
        np.testing.assert_array_equal(image.crop(*size).numpy(), same.crop(*size).numpy())
