"""Repeated images are counted, exactly and nearly, with bounded work."""

from __future__ import annotations

import image_tools as tools
import numpy as np
import pytest

from ast_experiments.core.errors import DataError
from ast_experiments.data import regimes, repeats
from ast_experiments.data.dataset import Dataset, Images
from ast_experiments.data.encoded.load import load_folder
from ast_experiments.data.repeats import find_repeats


def images(rows=600, side=12, seed=0):
    random = np.random.default_rng(seed)
    return Images(random.integers(0, 256, (rows, side, side, 3), np.uint8), np.arange(rows) % 3)


def test_copies_of_a_regime_are_counted_exactly():
    plain = images()
    made = regimes.apply(Dataset("made", plain, plain, ("a", "b", "c"), "made"), regimes.Regime(duplicates=0.8))
    found = find_repeats(made.train, made.train.labels, 0)
    assert (found.exact, found.near) == (pytest.approx(0.8), pytest.approx(0.8))
    assert find_repeats(plain, plain.labels, 0).share == 0


def test_the_quick_count_compares_exactly_in_whole_classes(monkeypatch):
    plain = images()
    doubled = Images(np.concatenate([plain.images] * 2), np.concatenate([plain.labels] * 2))
    assert repeats.repeated_share(doubled) == 0.5
    assert repeats.repeated_share(plain) == 0
    soft = np.eye(3, dtype=np.float32)[doubled.labels]
    assert repeats.repeated_share(Images(doubled.images, soft)) == 0.5
    monkeypatch.setattr(repeats, "QUICK", (400, 250))
    assert repeats.repeated_share(doubled) == 0.5


def test_nearly_equal_images_of_one_class_are_counted():
    plain = images()
    pixels = plain.images.copy()
    pixels[3:60:3] = np.clip(pixels[0:57:3].astype(int) + 3, 0, 255)  # rows of the same class
    found = find_repeats(Images(pixels, plain.labels), plain.labels, 0)
    assert found.exact == 0
    assert 0 < found.near <= 19 / 600
    other = plain.labels.copy()
    other[3:60:6] += 1
    assert find_repeats(Images(pixels, other % 3), other % 3, 0).near < found.near


def test_whole_classes_show_the_share_of_copies(monkeypatch):
    monkeypatch.setattr(repeats, "PIXELS", (400, 250))
    plain = images()
    doubled = Images(np.concatenate([plain.images] * 2), np.concatenate([plain.labels] * 2))
    found = find_repeats(doubled, doubled.labels, 0)
    assert (found.exact_rows, found.near_rows) == (400, 250)
    assert found.exact == 0.5
    assert found == find_repeats(doubled, doubled.labels, 0)


def test_files_are_compared_by_their_bytes(tmp_path):
    splits = tools.samples()
    name, _, data = splits["train"][0]
    splits["train"].append((name, f"{name}_999.JPEG", data))
    tools.folders(tmp_path, splits)
    train = load_folder(str(tmp_path), size=32).train
    found = find_repeats(train, train.labels, 0)
    assert found.exact == pytest.approx(1 / 25)
    assert found.exact_rows == found.near_rows == 25
    squares = load_folder(str(tmp_path), size=32, stored_size=32).train
    assert find_repeats(squares, squares.labels, 0).exact == pytest.approx(1 / 25)


def test_a_damaged_file_is_one_line(tmp_path):
    splits = tools.samples()
    splits["train"][2] = (*splits["train"][2][:2], b"no image")
    tools.folders(tmp_path, splits)
    train = load_folder(str(tmp_path), size=32).train
    with pytest.raises(DataError, match="cannot be decoded"):
        find_repeats(train, train.labels, 0)
