"""The pilot trains a small share of a run, writes nothing, and says the same every time."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ast_experiments.config.compose import load_config
from ast_experiments.core.errors import DataError, Interrupted
from ast_experiments.pilot import train
from ast_experiments.pilot.advice import Advice
from ast_experiments.pilot.diagnosis import diagnose
from ast_experiments.pilot.rule import judge
from ast_experiments.pilot.words import answer, findings
from ast_experiments.runs.build import build_dataset

CPU = ["hardware=cpu", "hardware.precision=float32", "recipe.epochs=8"]


def folder(root, classes=6, rows=90):
    """Class folders of images whose colour tells the class; returns the overrides."""
    random = np.random.default_rng(0)
    for split, count in (("train", rows), ("val", 2)):
        for label in range(classes):
            place = root / split / f"c{label}"
            place.mkdir(parents=True)
            for number in range(count):
                colour = np.array([40 * label, 180 - 30 * label, 30 * (label % 2)])
                pixels = random.integers(0, 60, (16, 16, 3)) + colour
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(place / f"{number}.png")
    return ["dataset=folder", f"dataset.root={root}", "dataset.size=16", "model=simple_cnn", "recipe.batch_size=16",
            "recipe.epochs=20", "recipe.eval_batch_size=64", "hardware=cpu", "hardware.workers=0"]  # fmt: skip


@pytest.fixture(scope="module")
def digits():
    return build_dataset(load_config(CPU))


def test_a_pilot_costs_a_tenth_at_most_and_is_the_same_every_time(digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load_config(CPU)
    first, second = (diagnose(CPU, config, dataset=digits) for _ in range(2))
    assert first.signs == second.signs
    assert np.array_equal(first.pilot.logits, second.pilot.logits)
    assert first.pilot.counted
    assert 0.05 < first.pilot.share <= 0.1
    assert first.pilot.size.rows <= 0.1 * 8 * first.rows
    assert list(tmp_path.iterdir()) == []


def test_folders_of_images(tmp_path):
    typed = folder(tmp_path)
    seen = diagnose(typed, load_config(typed))
    assert seen.pilot is not None
    assert seen.signs.accuracy > 0.5
    assert (seen.signs.imbalance, seen.signs.repeats.exact) == (1.0, 0.0)
    said = {line.subject: line.text for line in findings(seen)}
    assert said["rare classes"] == "classes are balanced (90 rows in each)"
    assert said["pilot"].startswith(f"trained {seen.pilot.size.trained} rows ")
    assert "of the FLOPs of the dense run" in said["pilot"]


def test_few_images_have_no_pilot_and_no_prediction():
    typed = ["dataset.train_rows=180", "dataset.imbalance=1.3", "recipe.batch_size=16"]
    seen = diagnose(typed, load_config(typed))
    said = {line.subject: line.text for line in findings(seen)}
    assert said["pilot"] == f"not run; it needs at least 500 training images, and there are {seen.rows}"
    assert said["rare classes"].startswith("1:1.")
    lines = list(answer(judge(seen.signs), seen, {}, Advice("the run", "why so many", "the study")))
    assert lines == [
        f"No prediction: {seen.rows} training images are too few for a pilot. "
        "Start with dense training; a study measures.",
        "  type      the run",
        "  epochs    why so many",
        "  study     the study",
    ]


def test_few_classes_have_no_estimate_of_wrong_labels(tmp_path):
    typed = folder(tmp_path, classes=3, rows=180)
    seen = diagnose(typed, load_config(typed))
    said = {line.subject: line.text for line in findings(seen)}
    assert said["wrong labels"] == "not estimated: that needs 5 classes, and there are 3"
    lines = list(answer(judge(seen.signs), seen, {}, Advice("the run", "", "the study")))
    assert lines == [
        "No prediction: wrong labels could not be estimated, and choosing trains them first. "
        "Start with dense training; a study measures.",
        "  type      the run",
        "  study     the study",
    ]


def test_one_class_and_a_damaged_image_are_one_line(tmp_path):
    typed = [*folder(tmp_path / "one", classes=1), "method=dense"]
    with pytest.raises(DataError, match="one class only"):
        diagnose(typed, load_config(typed))
    typed = folder(tmp_path / "broken")
    (tmp_path / "broken" / "train" / "c1" / "7.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"7\.png cannot be decoded"):
        diagnose(typed, load_config(typed))


def test_a_short_run_has_no_pilot_and_no_prediction():
    for extra in ([], ["dataset.imbalance=40"]):
        typed = ["recipe.epochs=3", "method.warmup_epochs=1", *extra]
        seen = diagnose(typed, load_config(typed))
        assert seen.pilot is None
        assert judge(seen.signs)[:2] == (False, "unknown")
        assert any(line.text.startswith("not run; ") for line in findings(seen))
        assert any("too short to tell anything" in line.text for line in findings(seen)) == (not extra)


@pytest.mark.parametrize("method", ["rho_loss", "ast_masked"])
def test_any_method_and_recipe_can_be_advised_on(method, digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    typed = [*CPU, f"method={method}", "holdout=0.1", "eval_on=holdout", "recipe.warmup_epochs=2", "recipe.mixup=0.2",
             "recipe.ema_decay=0.9", "recipe.progressive_resizing=0.5"]  # fmt: skip
    typed = [each for each in typed if method != "rho_loss" or "mixup" not in each]
    seen = diagnose(typed, load_config(typed), dataset=digits)
    assert seen.pilot is not None
    assert seen.pilot.share <= 0.1
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_stops_the_workers_and_leaves_nothing(digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    closed = []

    def stopped(trainer):
        monkeypatch.setattr(trainer.train, "close", lambda: closed.append(True), raising=False)
        raise Interrupted("SIGTERM")

    monkeypatch.setattr(train.Trainer, "fit", stopped)
    with pytest.raises(Interrupted):
        diagnose(CPU, load_config(CPU), dataset=digits)
    assert closed == [True]
    assert list(tmp_path.iterdir()) == []
