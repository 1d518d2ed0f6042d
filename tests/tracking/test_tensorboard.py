"""The TensorBoard copy: event files read back."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from ast_experiments.config.checks import check
from ast_experiments.config.compose import load_config
from ast_experiments.core.errors import ConfigError
from ast_experiments.runs.run import execute
from ast_experiments.tracking.tensorboard import TensorboardTracker


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Value by step of every tag, as TensorBoard shows them."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


def log(tracker: TensorboardTracker, first: int, last: int) -> None:
    for step in range(first, last + 1):
        tracker.log({"kind": "step", "step": step, "train/loss": 1 / step, "note": "text"})
        if step % 5 == 0:
            tracker.log({"kind": "epoch", "step": step, "val/accuracy": float(step)})


def test_a_resumed_run_has_one_curve(tmp_path: Path) -> None:
    first = TensorboardTracker(tmp_path)
    log(first, 1, 12)
    first.finish({"status": "interrupted", "steps": 12})
    first.finish({"status": "interrupted", "steps": 12})
    second = TensorboardTracker(tmp_path)
    log(second, 11, 20)  # the checkpoint was made at step 10
    second.finish({"status": "finished", "final_accuracy": 20.0, "control": {"rms_error": 0.5}, "target": None})
    assert scalars(tmp_path) == {
        "train/loss": {step: pytest.approx(1 / step) for step in range(1, 21)},
        "val/accuracy": {5: 5, 10: 10, 15: 15, 20: 20},
        "result/final_accuracy": {20: 20},
        "result/control/rms_error": {20: 0.5},
    }
    log_events = list(tmp_path.glob("events.out.tfevents.*"))
    assert len(log_events) == 2


def test_a_run_without_rows_leaves_nothing(tmp_path: Path) -> None:
    TensorboardTracker(tmp_path / "tensorboard").finish({"status": "failed"})
    assert not list(tmp_path.iterdir())


def test_the_events_of_a_run_are_its_record(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorboard")
    config = load_config(["recipe.epochs=2", "dataset.train_rows=300", "tracking=tensorboard"])
    execute(config, tmp_path)
    assert f"TensorBoard: {tmp_path / 'tensorboard'}" in capfd.readouterr().out
    found = scalars(tmp_path / "tensorboard")
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    for key in ("train/loss", "epoch/activation_rate", "val/accuracy"):
        assert found[key] == {row["step"]: pytest.approx(row[key]) for row in rows if key in row}


def test_a_missing_extra_is_named_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(["tracking.tensorboard=true"])
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="--extra tensorboard"):
        check(config)
