"""The samples on a run's page: rates by class, visits, galleries."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_tools import left

from ast_experiments.analysis.report import write_report
from ast_experiments.analysis.samples import class_rates, class_rows, read_samples, sample_section

EVIL = "<script>alert('x')</script> & \"more\" $x^2$"


def test_rates_by_class_by_hand(tmp_path: Path) -> None:
    record = read_samples(
        left(tmp_path, np.array([0, 0, 1]), np.array([4, 2, 1]), ["cat", "dog", "eel"]), {"epochs": 4}
    )
    assert record is not None
    assert class_rates(record).tolist() == [0.75, 0.25, 0.0]
    rows = [(row["name"], row["size"], row["rate"]) for row in class_rows(record)]
    assert rows == [("cat", 2, 0.75), ("dog", 1, 0.25)]
    assert sample_section(record)["lines"] == [
        "Every sample was trained, 33.3 % only once. The tenth that was trained most got 57 % of all visits.",
        "Activation rate: 0.250 in the rarer half of the classes, 0.750 in the others.",
    ]


def test_every_sample_often(tmp_path: Path) -> None:
    record = read_samples(left(tmp_path, np.array([0, 0, 1]), np.array([4, 2, 3]), ["cat", "dog"]), {"epochs": 4})
    assert record is not None
    assert sample_section(record)["lines"][0].startswith("Every sample was trained at least 2 times. The tenth")


ESTIMATE = {"share": 0.2, "low": 0.1, "high": 0.3, "suspects": 5}
TITLE = "Predicted as another class"


@pytest.mark.parametrize(
    ("result", "line", "caption", "marked"),
    [
        (
            {},
            "Estimated wrong labels: 20.0 % (10.0 % to 30.0 %), assuming equal shares in every class. "
            "The most suspicious 5 samples are marked as suspected.",
            "wrong labels, or hard to learn",
            True,
        ),
        (
            {"label_noise_estimate": ESTIMATE | {"low": 0.0}},
            "Estimated wrong labels: 20.0 % (0.0 % to 30.0 %), assuming equal shares in every class. "
            "That is compatible with none, so no sample is marked as suspected.",
            "All of these labels may be right",
            False,
        ),
        (
            {"final_accuracy": 21.0, "classes": 5, "val_samples": 100},
            "No estimate of wrong labels: the network only guesses.",
            "",
            False,
        ),
        ({"steps": 99}, "No estimate of wrong labels: fewer than 100 training steps.", "", False),
    ],
    ids=["clearly", "none wrong", "at chance", "few steps"],
)
def test_wrong_labels_are_suspected_where_the_estimate_is_above_0(
    tmp_path: Path, result: dict[str, Any], line: str, caption: str, marked: bool
) -> None:
    folder = left(tmp_path, np.arange(40) % 5, np.arange(40) % 3, [*"abcde"])
    record = read_samples(folder, {"epochs": 3, "label_noise_estimate": ESTIMATE} | result)
    assert record is not None
    section = sample_section(record)
    assert section["lines"][-1] == line
    assert section["suspected"] is marked
    assert any(row["suspected"] for row in section["classes"]) is marked
    captions = [each["caption"] for each in section["galleries"] if each["title"] == TITLE]
    assert len(captions) == bool(caption)
    assert all(caption in each for each in captions)


def test_the_page_escapes_names_and_paths(tmp_path: Path) -> None:
    labels = np.arange(40) % 2
    html = write_report(left(tmp_path, labels, np.arange(40) % 5, [EVIL, "b"])).read_text()
    assert html.count("<script>") == 1, "the page's own"
    assert "&lt;script&gt;" in html
    assert html.count('class="shot"') > 20


def test_pictures_must_be_pictures(tmp_path: Path) -> None:
    folder = left(tmp_path, np.arange(4) % 2, np.arange(4), ["a", "b"])
    content = (folder / "samples.json").read_text().replace("data:image/jpeg", "https://elsewhere")
    (folder / "samples.json").write_text(content)
    html = write_report(folder).read_text()
    assert "elsewhere" not in html
    assert "no picture" in html


def test_no_table_or_a_damaged_one(tmp_path: Path) -> None:
    assert read_samples(tmp_path, {}) is None
    (tmp_path / "samples.npz").write_bytes(b"PK nothing")
    assert read_samples(tmp_path, {}) is None


@pytest.mark.slow
def test_the_page_of_a_large_data_set_is_small_and_made_soon(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows, classes = 1_281_167, 1000
    names = [f"class with a long name {number}" for number in range(classes)]
    left(tmp_path, random.integers(0, classes, rows), random.poisson(4, rows), names)
    begin = time.process_time()
    html = write_report(tmp_path).read_text()
    assert time.process_time() - begin < 20
    assert len(html) < 3_000_000
    assert html.count('class="shot"') == 96
