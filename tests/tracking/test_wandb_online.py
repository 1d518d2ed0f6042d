"""W&B online, against a server on the loopback interface: everything arrives, and nothing holds up training."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import wandb
import yaml
from wandb.cli.cli import cli
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args
from wandb_server import WandbServer, of_type, read_back

from ast_experiments.config.compose import load_config
from ast_experiments.runs.run import execute
from ast_experiments.tracking import Trackers
from ast_experiments.tracking.background import BackgroundTracker
from ast_experiments.tracking.wandb import WandbTracker, end_service
from ast_experiments.training.loop import FLUSH_S

TIMEOUT = 2.0
SLACK = 10.0  # for W&B's process to start, on a busy machine
RESULT = {"status": "finished", "final_accuracy": 50.0, "energy": {"gpu_joules": None, "source": None}}


def rows(first: int, last: int) -> list[dict[str, Any]]:
    return [
        {"kind": "step", "step": step, "epoch": step / 10, "samples_seen": 8 * step, "train/loss": 1 / step}
        for step in range(first, last + 1)
    ]


def log(tracker: WandbTracker | Trackers, first: int, last: int) -> None:
    for row in rows(first, last):
        tracker.log(row)


def test_a_resumed_run_stays_one_run_with_one_curve(server: WandbServer, tmp_path: Path) -> None:
    first = WandbTracker(tmp_path, mode="online", run_id="same", timeout=20)
    assert first.url == f"{server.url}/tester/ast-experiments/runs/same"
    log(first, 1, 12)
    first.finish({"status": "interrupted"})
    assert (server.runs["same"].steps, server.runs["same"].exit_code) == (list(range(1, 13)), 130)
    # The checkpoint was made at step 10.
    second = WandbTracker(tmp_path, mode="online", run_id="same", timeout=20)
    log(second, 11, 20)
    second.finish(RESULT)
    run = server.runs["same"]
    assert list(server.runs) == ["same"]
    assert run.steps == list(range(1, 21))
    assert [row["train/loss"] for row in run.history] == [1 / step for step in range(1, 21)]
    assert run.exit_code == 0
    assert run.summary["final_accuracy"] == 50


def test_files_of_a_sweep_are_sent_later(server: WandbServer, tmp_path: Path) -> None:
    for name, (first, last) in (("a", (1, 5)), ("b", (1, 4)), ("b", (5, 9))):
        tracker = WandbTracker(tmp_path / name, mode="offline", run_id=name, group="sweep", tags=["digits"])
        log(tracker, first, last)
        tracker.finish(RESULT)
        time.sleep(1.1)  # W&B names directories by the second
    folders = sorted(tmp_path.glob("*/wandb/offline-run-*"))
    cli(["sync", *map(str, folders)], standalone_mode=False)  # `wandb sync FOLDERS`
    assert {name: run.steps for name, run in server.runs.items()} == {"a": [1, 2, 3, 4, 5], "b": list(range(1, 10))}
    for run in server.runs.values():
        assert (run.fields["groupName"], run.fields["tags"]) == ("sweep", ["digits"])


@pytest.mark.parametrize("behaves", ["dead", "hangs", "refuses"])
def test_a_server_that_does_not_take_the_run(
    behaves: Any,
    server: WandbServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    server.behaves = behaves
    if behaves == "dead":
        server.close()
    began = time.monotonic()
    tracker = WandbTracker(tmp_path, mode="online", run_id="x", timeout=TIMEOUT)
    log(tracker, 1, 1)
    tracker.finish(RESULT)
    assert time.monotonic() - began < 2 * TIMEOUT + SLACK
    refused = behaves == "refuses"
    assert ("refuses the run" if refused else "does not answer") in caplog.text
    assert (tracker.mode, tracker.run_id) == ("offline", "x-offline" if refused else "x")
    assert len(of_type(read_back(tracker.directory), "history")) == 1
    assert capfd.readouterr() == ("", "")


def service() -> int:
    return wandb.setup()._connection._proc._process.pid  # pyright: ignore


def fill_disk(server: WandbServer) -> None:
    """W&B's process can write no more."""
    _, most = resource.prlimit(service(), resource.RLIMIT_FSIZE)
    resource.prlimit(service(), resource.RLIMIT_FSIZE, (1, most))


FAULTS: dict[str, Callable[[WandbServer], Any]] = {
    "the server dies": WandbServer.close,
    "the server hangs": lambda server: setattr(server, "behaves", "hangs"),
    "the server refuses": lambda server: setattr(server, "behaves", "refuses"),
    "the process dies": lambda server: os.kill(service(), signal.SIGKILL),
    "the process hangs": lambda server: os.kill(service(), signal.SIGSTOP),
    "the disk is full": fill_disk,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_happens_to_wandb_does_not_happen_to_training(
    fault: str,
    server: WandbServer,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    copy = WandbTracker(tmp_path, mode="online", run_id="x", timeout=TIMEOUT)
    assert copy.mode == "online"
    trackers = Trackers([BackgroundTracker(copy, timeout=TIMEOUT + 1, give_up=end_service)])
    log(trackers, 1, 100)
    FAULTS[fault](server)
    slowest = 0.0
    for first in range(101, 4000, 100):
        began = time.monotonic()
        log(trackers, first, first + 99)
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(0.01)
    assert slowest < SLACK  # who waits for what hangs waits much longer
    began = time.monotonic()
    trackers.finish(RESULT)
    assert time.monotonic() - began < TIMEOUT + 1 + SLACK
    assert "Traceback" not in capfd.readouterr().err or fault == "the process hangs"
    if fault.startswith("the process"):
        assert "WandbTracker failed to" in caplog.text
    if fault == "the disk is full":
        end_service()  # it would be full for the next run too

    after = WandbTracker(tmp_path / "next", mode="offline", run_id="y")
    log(after, 1, 2)
    after.finish(RESULT)
    assert len(of_type(read_back(after.directory), "history")) == 2


KILLED = """
import sys, time
from ast_experiments.tracking.wandb import WandbTracker
import wandb
tracker = WandbTracker(sys.argv[1], mode="offline", run_id="x")
print(wandb.setup()._connection._proc._process.pid, flush=True)
waiting, flushed = [], time.monotonic()
for step in range(1, 10000):
    time.sleep(0.01)
    waiting.append({"kind": "step", "step": step, "samples_seen": step, "train/at": time.time()})
    if time.monotonic() - flushed >= float(sys.argv[2]):  # as a run does
        for row in waiting:
            tracker.log(row)
        waiting, flushed = [], time.monotonic()
"""


def test_a_run_that_is_killed_with_the_process_of_wandb_loses_a_second(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, tmp_path, str(FLUSH_S)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    time.sleep(2.8)
    killed = time.time()
    os.kill(pid, signal.SIGKILL)
    process.kill()
    process.wait()
    process.stdout.close()
    (folder,) = tmp_path.glob("wandb/offline-run-*")
    items = [record["item"] for record in of_type(read_back(folder), "history")]
    assert [item["_step"] for item in items] == list(range(1, len(items) + 1))
    assert killed - items[-1]["train/at"] < 1.2


def test_a_run_arrives_whole(server: WandbServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shape = ["recipe.epochs=4", "dataset.train_rows=300", "method.noise_robust=false"]
    overrides = ["experiment=quickstart", *shape, "group=study", "tags=[mine]"]
    config = load_config([*overrides, "tracking.wandb=online", "tracking.artifacts=true"])
    result = execute(config, tmp_path, overrides)
    out, err = capfd.readouterr()
    assert f"W&B: {server.url}/tester/ast-experiments/runs/{result['run_id']}\n" in out
    assert err == ""
    (run_id, run), *others = server.runs.items()
    assert not others
    assert (run_id, run.exit_code) == (result["run_id"], 0)

    expected: dict[int, dict[str, Any]] = {}
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        expected.setdefault(row["step"], {}).update({k: v for k, v in row.items() if k not in ("kind", "step")})
    arrived = {row["_step"]: {k: v for k, v in row.items() if not k.startswith("_")} for row in run.history}
    assert arrived == {step: pytest.approx(row) for step, row in expected.items()}

    assert run.fields["groupName"] == "study"
    assert run.fields["jobType"] == "train"
    assert set(run.fields["tags"]) == {"digits", "simple_cnn", "ast", "stale", "pi", "mine"}
    config = {key: entry["value"] for key, entry in json.loads(run.fields["config"]).items()}
    assert (config["dataset"]["name"], config["recipe"]["epochs"]) == ("digits", 4)
    assert (config["method"]["name"], config["controller"]["name"]) == ("ast", "pi")
    summary = run.summary
    for key in ("final_accuracy", "mean_activation_rate", "nominal_savings", "compute_savings"):
        assert summary[key] == pytest.approx(result[key]), key
    for outer, inner in (("control", "rms_error"), ("seconds", "train"), ("flops", "train"), ("energy", "why_not")):
        assert summary[f"{outer}/{inner}"] == pytest.approx(result[outer][inner])
    assert not [key for key, value in summary.items() if value is None]

    assert server.committed == [f"checkpoint-{run_id}"]
    uploaded = server.uploads[f"/checkpoint-{run_id}/last.pt"]
    assert uploaded == (tmp_path / "checkpoints" / "last.pt").read_bytes()


def test_a_trial_of_an_agent_takes_its_id(server: WandbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = yaml.safe_load((Path(__file__).parents[2] / "scripts" / "wandb_sweep.yaml").read_text())
    # The agent's own steps from the file and a trial's parameters to a command line.
    arguments = create_sweep_command_args({"args": {name: {"value": 0.125} for name in sweep["parameters"]}})
    command = [
        part
        for macro in create_sweep_command(sweep["command"])
        for part in (arguments["args_no_hyphens"] if macro == "${args_no_hyphens}" else [macro])
    ]
    assert command[:3] == ["${env}", "ast-train", "experiment=cifar10_stale"]  # ${env} becomes /usr/bin/env
    assert load_config(command[2:]).controller.kp == 0.125

    for name, value in {"SWEEP_ID": "sweep1", "RUN_ID": "trial7", "PROJECT": "theirs", "ENTITY": "tester"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    end_service()
    config = load_config([*command[3:], "recipe.epochs=2", "dataset.train_rows=300", "tracking.report=false"])
    result = execute(config, tmp_path)
    fields = server.runs["trial7"].fields
    assert (fields["sweep"], fields["project"]) == ("sweep1", "theirs")
    assert result["run_id"] == result["wandb"]["id"] == "trial7"
