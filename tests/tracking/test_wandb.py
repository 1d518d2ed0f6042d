"""The W&B copy, offline: the whole curve can be read back from its files."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import wandb
from wandb_server import of_type, read_back

from ast_experiments.data.thumbnails import data_uri
from ast_experiments.tracking.sample_table import table_rows
from ast_experiments.tracking.wandb import Mode, WandbTracker, api_key_configured, resolve_mode


def log_run(tracker: WandbTracker, first: int, last: int) -> None:
    for step in range(first, last + 1):
        at = {"step": step, "epoch": step / 10, "progress": step / 40, "samples_seen": 128 * step}
        tracker.log({"kind": "step", **at, "control/activation_rate": 0.3, "train/loss": 1 / step})
        if step % 10 == 0:
            tracker.log({"kind": "epoch", **at, "val/accuracy": float(step), "rows/trained": 128 * step})
    tracker.flush()


def test_offline_run_holds_the_whole_curve(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = set(Path.cwd().iterdir())
    tracker = WandbTracker(
        tmp_path,
        mode="auto",
        project="study",
        group="sweep",
        job_type="train",
        tags=["cifar10"],
        config={"controller": {"kp": 0.1}},
        run_id="abc123",
    )
    log_run(tracker, 1, 40)
    tracker.finish({"status": "finished", "final_accuracy": 40.0, "seconds": {"train": 1.0}, "target": None})
    tracker.finish({"status": "finished"})
    assert capfd.readouterr() == ("", "")
    assert set(Path.cwd().iterdir()) == before
    assert {path.name for path in tmp_path.iterdir()} == {"wandb"}
    assert tracker.directory is not None
    assert tracker.directory.parent == tmp_path / "wandb"

    records = read_back(tracker.directory)
    history = {each["item"]["_step"]: each["item"] for each in of_type(records, "history")}
    assert sorted(history) == list(range(1, 41))
    for step, item in history.items():
        assert item["train/loss"] == pytest.approx(1 / step)
        assert item["samples_seen"] == 128 * step
        assert item.get("val/accuracy") == (step if step % 10 == 0 else None), "both rows of a step arrive"
    axes = {each["glob_name"]: each["step_metric"] for each in of_type(records, "metric") if "glob_name" in each}
    assert axes == {
        "control/*": "samples_seen",
        "train/*": "samples_seen",
        "val/*": "epoch",
        "rows/*": "epoch",
    }
    run = of_type(records, "run")[0]
    assert (run["run_id"], run["project"], run["run_group"], run["job_type"]) == (
        "abc123",
        "study",
        "sweep",
        "train",
    )
    summary: dict[str, Any] = {}
    for each in of_type(records, "summary"):
        summary |= each["update"]
    assert summary["status"] == "finished"
    assert summary["final_accuracy"] == 40.0
    assert of_type(records, "exit")[0].get("exit_code", 0) == 0


def test_failed_run_says_so_and_resumes_under_its_id(tmp_path: Path) -> None:
    first = WandbTracker(tmp_path, mode="offline", run_id="same")
    log_run(first, 1, 12)
    state = first.state_dict()
    first.finish({"status": "failed", "error": "RuntimeError: oops"})
    assert first.directory is not None
    assert of_type(read_back(first.directory), "exit")[0]["exit_code"] == 1

    time.sleep(1.1)  # W&B names directories by the second
    second = WandbTracker(tmp_path, mode="offline", run_id=state["run_id"])
    second.load_state_dict(state)
    log_run(second, 11, 20)
    second.finish({"status": "finished"})
    assert second.directory is not None
    assert second.directory != first.directory
    steps = [each["item"]["_step"] for each in of_type(read_back(second.directory), "history")]
    assert steps == list(range(11, 21))


def test_disabled_leaves_nothing(tmp_path: Path) -> None:
    tracker = WandbTracker(tmp_path, mode="disabled")
    log_run(tracker, 1, 3)
    tracker.finish({"status": "finished"})
    assert tracker.directory is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("mode", "environment", "key", "expected"),
    [
        ("auto", None, False, "offline"),
        ("auto", None, True, "online"),
        ("auto", "offline", True, "offline"),
        ("auto", "dryrun", True, "offline"),
        ("auto", "disabled", True, "disabled"),
        ("auto", "online", False, "offline"),
        ("online", "disabled", True, "online"),
        ("online", None, False, "offline"),
        ("offline", "online", True, "offline"),
        ("disabled", "online", True, "disabled"),
    ],
)
def test_mode(mode: Mode, environment: str | None, key: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ast_experiments.tracking.wandb.server_answers", lambda timeout: True)
    if environment:
        monkeypatch.setenv("WANDB_MODE", environment)
    if key:
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert resolve_mode(mode) == expected


def test_online_without_a_key_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert resolve_mode("online") == "offline"
    assert "wandb login" in caplog.text


@pytest.mark.parametrize(("key", "expected"), [("0" * 40, True), ("tooshort", False)])
def test_a_key_in_netrc_counts(key: str, expected: bool, tmp_path: Path) -> None:
    host = urlsplit(wandb.setup().settings.base_url).netloc
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine {host} login user password {key}\n")
    netrc.chmod(0o600)
    assert api_key_configured() is expected


def test_the_samples_become_a_table(tmp_path: Path) -> None:
    picture = data_uri(np.zeros((8, 8, 3), np.uint8))
    sample = {"label": 1, "predicted": 0, "confidence": 0.9, "visits": 3, "last_loss": None}
    sample |= {"altered": ["label_noise", "corruption"], "where": "/home/alice/a.png"}
    content = {
        "classes": ["cat", "dog"],
        "galleries": {"suspects": [7], "most": [7]},
        "samples": {"7": {**sample, "picture": picture}},
    }
    path = tmp_path / "samples.json"
    path.write_text(json.dumps(content))
    row = [7, "dog", "cat", 0.9, 3, None, "label_noise, corruption", "/home/alice/a.png", picture]
    assert table_rows(content) == [["suspects", *row], ["most", *row]]
    tracker = WandbTracker(tmp_path, mode="offline", run_id="abc123", samples=path)
    log_run(tracker, 1, 3)
    tracker.finish({"status": "finished"})
    last = of_type(read_back(tracker.directory), "history")[-1]["item"]
    assert (last["samples._type"], last["samples.nrows"], last["samples.ncols"]) == ("table-file", 2, 10)
    table = next(tracker.directory.glob("files/media/table/*.json")).read_text()
    assert '"~/a.png"' in table
    assert "alice" not in table


def test_no_samples_no_table(tmp_path: Path) -> None:
    tracker = WandbTracker(tmp_path, mode="offline", run_id="abc123", samples=tmp_path / "samples.json")
    log_run(tracker, 1, 3)
    tracker.finish({"status": "finished"})
    assert all("samples._type" not in each["item"] for each in of_type(read_back(tracker.directory), "history"))
