"""Synthetic run directories that look like those of the training loop."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ast_experiments.runs.control_quality import control_quality

CONFIG = """\
seed: 0
dataset:
  name: cifar10
method:
  name: {method}
controller:
  name: pi
  kp: {kp}
output: ${{oc.env:HOME}}/runs
"""


def make_rows(
    *,
    epochs: int = 30,
    controlled: bool = True,
    rows: int = 50_000,
    batch: int = 128,
    log_every: int = 10,
    target: float = 0.3,
    warmup: int = 2,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Makes the log rows of a run: PI control with an overshoot, or dense training."""
    rng = np.random.default_rng(seed)
    log: list[dict[str, Any]] = []
    step = seen = logged = offered = windows = 0
    ema, since = 1.0, 0.0
    for epoch in range(epochs):
        active = controlled and epoch >= warmup
        aim = target if active else 1.0
        begin_seen, begin_step = seen, step
        given = 0.0
        while given < rows:
            ring = 0.6 * np.exp(-windows / 60) * np.cos(windows / 30)
            rate = float(np.clip(aim * (1 + ring) + rng.normal(0, 0.02), 0.02, 1.0)) if active else 1.0
            size = batch if active else min(batch, rows - int(given))
            given, since = given + size / rate, since + size / rate
            step, seen, windows = step + 1, seen + size, windows + active
            ema += 0.1 * (rate - ema)
            if step % log_every == 0:
                part = min(given / rows, 1.0)
                row = {
                    "kind": "step",
                    "step": step,
                    "epoch": epoch + part,
                    "progress": (epoch + part) / epochs,
                    "samples_seen": seen,
                    "samples_offered": offered + given,
                    "train/loss": 2.3 * np.exp(-(epoch + part) / 12) + rng.normal(0, 0.08),
                    "train/lr": 0.1,
                    "train/throughput": 5_000.0,
                }
                if active:
                    row |= {
                        "control/activation_rate": (seen - logged) / since,
                        "control/activation_rate_ema": ema,
                        "control/target": aim,
                        "control/threshold": 0.8 + 0.4 * ring + 0.004 * epoch,
                        "control/saturated": 0,
                        "control/fallback": 0,
                    }
                log.append(row)
                since, logged = 0.0, seen
        offered += rows
        trained = seen - begin_seen
        log.append(
            {
                "kind": "epoch",
                "step": step,
                "epoch": float(epoch + 1),
                "progress": (epoch + 1) / epochs,
                "samples_seen": seen,
                "val/accuracy": 92 - 60 * np.exp(-epoch / 6) + rng.normal(0, 0.4),
                "val/loss": 0.35 + 2 * np.exp(-epoch / 6),
                "epoch/activation_rate": trained / rows,
                "epoch/target": aim,
                "epoch/train_loss": 2.3 * np.exp(-(epoch + 0.5) / 12),
                "epoch/rows_trained": trained,
                "epoch/rows_offered": rows,
                "energy/nominal_savings": 0.99 * (1 - seen / offered) if controlled else 0.0,
                "energy/skipped_share": 1 - seen / offered if controlled else 0.0,
                "rows/trained": seen,
                "rows/scored": 0,
                "rows/offered": offered,
                "time/train_s": seen / 5_000,
                "time/score_s": 0.0,
                "time/data_wait_s": seen / 40_000,
                "time/val_s": 1.1 * (epoch + 1),
                "time/plan_s": 0.2 * (epoch + 1),
            }
            | ({"epoch/saturated_share": 0.0, "epoch/fallback_share": 0.0} if active else {})
        )
        assert step > begin_step
    return json.loads(json.dumps(log, default=float))


def make_result(rows: list[dict[str, Any]], status: str = "finished", **changes: Any) -> dict[str, Any]:
    """Makes the result.json that matches such rows."""
    epochs = [row for row in rows if row["kind"] == "epoch"]
    control = control_quality([row for row in rows if row["kind"] == "step"], epochs)
    last = epochs[-1]
    accuracies = [row["val/accuracy"] for row in epochs]
    rates = [row["epoch/activation_rate"] for row in epochs]
    result = {
        "status": status,
        "dataset": "cifar10",
        "model": "resnet18",
        "method": "ast",
        "controller": "pi",
        "significance": "loss",
        "seed": 0,
        "group": "study",
        "tags": ["cifar10", "resnet18"],
        "final_accuracy": accuracies[-1],
        "best_accuracy": max(accuracies),
        "best_epoch": int(np.argmax(accuracies)) + 1,
        "epochs": len(epochs),
        "epochs_planned": 30,
        "steps": last["step"],
        "mean_activation_rate": float(np.mean(rates)),
        "last_quarter_activation_rate": float(np.mean(rates[-len(rates) // 4 :])),
        "target": last["epoch/target"],
        "rows_trained": last["rows/trained"],
        "rows_scored": 0,
        "rows_offered": last["rows/offered"],
        "nominal_savings": last["energy/nominal_savings"],
        "skipped_share": last["energy/skipped_share"],
        "seconds": {key[5:-2]: last[key] for key in last if key.startswith("time/")},
        "config_hash": "9f2c41d0",
        "versions": {"python": "3.11.7", "torch": "2.15.0", "ast-experiments": "0.1.0"},
        "hardware": {"device": "cpu", "name": "AMD EPYC", "cores": 2},
        "commit": "0123abcd",
        "run_id": "ab12cd34",
        "overrides": ["method=ast", "controller.kp=0.1"],
        "notes": [],
    }
    if control is not None:
        result["control"] = asdict(control)
    return result | changes


def write_run(
    directory: Path,
    rows: list[dict[str, Any]],
    result: dict[str, Any] | None,
    config: str = CONFIG.format(method="ast", kp=0.1),
) -> Path:
    """Writes a run directory, without result.json if the result is None."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.yaml").write_text(config)
    (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if result is not None:
        (directory / "result.json").write_text(json.dumps(result))
    return directory


@pytest.fixture(scope="session")
def controlled_rows() -> list[dict[str, Any]]:
    return make_rows()


@pytest.fixture(scope="session")
def dense_rows() -> list[dict[str, Any]]:
    return make_rows(controlled=False, epochs=10)


@pytest.fixture
def result_of() -> Callable[..., dict[str, Any]]:
    return make_result


@pytest.fixture
def run_in() -> Callable[..., Path]:
    return write_run


@pytest.fixture
def rows_of() -> Callable[..., list[dict[str, Any]]]:
    return make_rows
