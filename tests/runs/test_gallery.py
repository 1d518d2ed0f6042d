"""samples.json: which samples a run's page shows, and their thumbnails."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from image_tools import encode, image
from PIL import Image
from run_tools import run

from ast_experiments.analysis.report import write_report
from ast_experiments.data.dataset import Images
from ast_experiments.data.encoded.images import EncodedImages
from ast_experiments.data.encoded.stores import Files
from ast_experiments.data.thumbnails import place, thumbnails
from ast_experiments.runs.gallery import galleries


def decoded(uri: str) -> Image.Image:
    head, _, data = uri.partition(",")
    found = Image.open(io.BytesIO(base64.b64decode(data)))
    assert head == f"data:image/{(found.format or '').lower()};base64"
    return found


def test_galleries_by_hand() -> None:
    columns = {
        "visits": np.array([3, 0, 1, 1, 5, 2, 1]),
        "last_epoch": np.array([5, -1, 0, 1, 5, 4, 5]),  # the last sample could not be chosen again
        "label": np.array([0, 0, 0, 1, 1, 1, 1]),
        "predicted": np.array([1, -1, 1, 1, 0, 1, 1]),
        "margin": np.array([-1.0, np.nan, -3.0, 2.0, -2.0, 1.0, 1.0]),
    }
    chosen = galleries(columns, 2)
    assert chosen["most"].tolist() == [4, 0]
    assert chosen["least"][0] == 1
    assert chosen["least"][1] in (2, 3, 6)
    assert set(chosen["once"].tolist()) == {2, 3}
    assert chosen["suspects"].tolist() == [2, 4]


@pytest.mark.parametrize("visits", [[], [4, 4, 4]])
def test_equal_visits_have_no_most_or_least(visits: list[int]) -> None:
    assert all(not len(rows) for rows in galleries({"visits": np.array(visits, np.int32)}, 3).values())


@pytest.mark.parametrize("channels", [1, 3])
def test_small_images_stay_as_they_are(channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, channels), dtype=np.uint8)
    found = decoded(thumbnails(Images(pixels, np.zeros(2, np.int64)), [1])[0])
    np.testing.assert_array_equal(np.asarray(found).reshape(8, 8, channels), pixels[1])


def test_large_images_shrink_and_broken_ones_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encode(image(0, 300, 200)))
    (tmp_path / "b.jpg").write_bytes(b"nothing")
    store = Files((str(tmp_path),), np.zeros(2, np.int32), np.array([b"a.jpg", b"b.jpg"]))
    samples = EncodedImages(store, np.zeros(2, np.int64), store.names, 32)
    first, second = thumbnails(samples, [0, 1])
    assert decoded(first).size == (43, 64)
    assert len(first) < 4000
    assert second == ""
    assert place(samples, 0) == str(tmp_path / "a.jpg")


def test_a_run_writes_its_samples(tmp_path: Path) -> None:
    run(tmp_path, ["tracking.report=true", "tracking.pictures=5", "dataset.label_noise=0.2", "method.rate=0.8"])
    found = json.loads((tmp_path / "samples.json").read_text())
    assert found["classes"] == list("0123456789")
    assert {name: len(rows) for name, rows in found["galleries"].items()}["most"] == 5
    for rows in found["galleries"].values():
        for row in rows:
            sample = found["samples"][str(row)]
            assert decoded(sample["picture"]).size == (8, 8)
            assert sample["where"] == ""
    page = write_report(tmp_path).read_text()
    assert page.count("<h2>Samples</h2>") == 1
    drawn = [rows for name, rows in found["galleries"].items() if name != "suspects"]  # of a run with few steps
    assert page.count('src="data:image/png') == sum(map(len, drawn))


def test_without_pictures_there_is_no_file(tmp_path: Path) -> None:
    run(tmp_path, ["tracking.report=true", "tracking.pictures=0", "recipe.epochs=1"])
    assert not (tmp_path / "samples.json").exists()
    assert "Activation rate by class" in write_report(tmp_path).read_text()
