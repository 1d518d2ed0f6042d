"""The benchmark scripts run on small inputs; their figures are not checked."""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from run_tools import run

SCRIPTS = Path(__file__).parents[2] / "scripts"
pytestmark = pytest.mark.slow


def table(script: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> str:
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    monkeypatch.syspath_prepend(str(SCRIPTS))
    runpy.run_path(str(SCRIPTS / script), run_name="__main__")
    return capsys.readouterr().out


def test_bench_loop(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    out = table("bench_loop.py", ["--rows", "320", "--rounds", "1", "--rates", "0.4"], monkeypatch, capsys)
    assert re.search(r"^dense +[\d.]+ +1\.000", out, re.MULTILINE)
    assert re.search(r"^stale 0\.4 +[\d.]+ +[\d.]+ +<= 0\.450", out, re.MULTILINE)


def test_bench_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    for split, count in (("train", 24), ("val", 4)):
        for number in range(count):
            folder = tmp_path / split / f"class{number % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.roll(pixels, number, 0)).save(folder / f"{number}.png")
    settings = ["dataset=folder", f"dataset.root={tmp_path}", "model.arch=resnet10t", "dataset.size=32",
                "recipe.batch_size=8", "recipe.eval_batch_size=4", "hardware.workers=0", "--rounds", "1"]  # fmt: skip
    out = table("bench_images.py", settings, monkeypatch, capsys)
    assert "CPU, 0 workers, resnet10t at 32 px, batch 8, 24 images" in out
    assert re.search(r"^loader alone +[\d.]+ +[\d,]+ +[\d.]+", out, re.MULTILINE)


def test_save_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    folders = []
    for seed, accuracy in ((0, 90.0), (1, 91.0)):
        result = {
            "status": "finished", "folder": f"run{seed}", "seed": seed, "final_accuracy": accuracy, "rows_trained": 100,
            "final_accuracy_views": accuracy + 1, "epochs": 2, "flops": {"train": 3e12, "score": 0}, "commit": "abc",
            "overrides": ["experiment=x", f"seed={seed}", "tracking=jsonl"], "data_fingerprint": "f", "versions": {},
            "train_samples": 50, "val_samples": 10,
            "hardware": {"cpu": "c", "device": "cpu", "precision": "bfloat16", "threads": 1},
        }  # fmt: skip
        folders.append(tmp_path / f"run{seed}")
        folders[-1].mkdir()
        (folders[-1] / "result.json").write_text(json.dumps(result))
    arguments = [str(tmp_path / "kept.json"), *map(str, reversed(folders)), "--title", "Two seeds"]
    table("save_measurement.py", arguments, monkeypatch, capsys)
    kept = json.loads((tmp_path / "kept.json").read_text())
    assert kept["command"] == "ast-train experiment=x"
    assert [run["seed"] for run in kept["runs"]] == [0, 1]
    assert kept["summary"]["accuracy"] == {"mean": 90.5, "sd": 0.70711}
    assert kept["summary"]["pflop_train"]["mean"] == 0.003
    assert "seconds" not in json.dumps(kept)

    (folders[1] / "result.json").write_text((folders[1] / "result.json").read_text().replace("=x", "=y"))
    with pytest.raises(SystemExit, match="another command"):
        table("save_measurement.py", arguments, monkeypatch, capsys)


def test_bench_samples(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    arguments = [
        "--samples",
        "500",
        "--classes",
        "10",
        "--batch",
        "20",
        "--steps",
        "3",
        "--rounds",
        "1",
        "--size",
        "32",
    ]
    out = table("bench_samples.py", arguments, monkeypatch, capsys)
    assert re.search(r"^with predictions +[\d.]+ us a step +[\d.]+ s an epoch$", out, re.MULTILINE)
    assert "report.html" in out


def test_score_suspects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    result = run(tmp_path / "run", ["method=dense", "dataset.label_noise=0.2", "dataset.train_rows=1200"])
    table("score_suspects.py", [str(tmp_path / "run"), "--json", str(tmp_path / "a.json")], monkeypatch, capsys)
    (row,) = json.loads((tmp_path / "a.json").read_text())["runs"]
    assert row["wrong"] == 0.2
    assert row["estimate_share"] == pytest.approx(result["label_noise_estimate"]["share"], abs=1e-4)
    assert row["precision_100"] > 0.5
