import numpy as np
import pytest

from ast_experiments.core.errors import ConfigError
from ast_experiments.data.dataset import Dataset, Images
from ast_experiments.data.in_memory.load import load_digits


def make(rows=10, shape=(4, 5, 3), classes=3):
    rng = np.random.default_rng(rows)
    return Images(rng.integers(0, 256, (rows, *shape)).astype(np.uint8), np.arange(rows) % classes)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 4, 4, 3), np.float32), np.zeros(2, np.int64), "uint8"),
        (np.zeros((2, 4, 4), np.uint8), np.zeros(2, np.int64), "uint8"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros(2, np.int32), "int64"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros(3, np.int64), "int64"),
    ],
)
def test_images_of_another_form_are_refused(images, labels, message):
    with pytest.raises(ValueError, match=message):
        Images(images, labels)


def test_first_keeps_the_order():
    images = make()
    assert images.first(None) is images
    assert len(images.first(4)) == 4
    np.testing.assert_array_equal(images.first(4).images, images.images[:4])


@pytest.mark.parametrize("rows", [0, -1, 11])
def test_first_refuses_rows_that_are_not_there(rows):
    with pytest.raises(ConfigError, match=r"1 to 10"):
        make().first(rows)


@pytest.mark.parametrize(
    ("val", "classes", "message"),
    [(make(shape=(5, 5, 3)), 3, "val images"), (make(), 2, "labels run from 0 to 2")],
)
def test_splits_that_do_not_fit_are_refused(val, classes, message):
    with pytest.raises(ValueError, match=message):
        Dataset("x", make(), val, tuple("abc")[:classes], "here")


def test_fingerprint_sees_shapes_labels_and_pixels():
    def mark(train, val):
        return Dataset("x", train, val, tuple("abc"), "here").fingerprint

    relabelled = Images(make().images, make().labels[::-1].copy())
    repainted = Images(255 - make().images, make().labels)
    marks = {
        mark(make(), make(6)),
        mark(make(), make(7)),
        mark(make(6), make()),
        mark(relabelled, make(6)),
        mark(repainted, make(6)),
    }
    assert len(marks) == 5
    assert mark(make(), make(6)) == mark(make(), make(6))


def test_digits():
    digits = load_digits()
    assert digits.image_shape == (8, 8, 1)
    assert (len(digits.train), len(digits.val)) == (1442, 355)
    assert (digits.train.images.min(), digits.train.images.max()) == (0, 255)
    shares = np.bincount(digits.val.labels) / np.bincount(digits.train.labels)
    assert np.all(np.abs(shares - 0.25) < 0.01)
    assert digits.fingerprint == load_digits().fingerprint == "74aed22dabff"


def test_digits_for_debugging():
    digits = load_digits(train_rows=100, val_rows=50)
    np.testing.assert_array_equal(digits.train.images, load_digits().train.images[:100])
    assert np.bincount(digits.train.labels, minlength=10).min() >= 5
    with pytest.raises(ConfigError, match=r"dataset\.val_rows: .*1 to 355"):
        load_digits(val_rows=356)
