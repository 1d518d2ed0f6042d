"""The console: lines where nobody watches, a bar where somebody does."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from ast_experiments.tracking.console import ConsoleTracker, status_line
from ast_experiments.tracking.summary import NOT_MEASURED, duration, measured_energy, result_facts

STEP = {
    "kind": "step",
    "step": 10,
    "epoch": 0.5,
    "control/activation_rate_ema": 0.31,
    "control/target": 0.3,
    "control/threshold": 0.7123,
    "train/loss": 1.5,
}
EPOCH = {
    "kind": "epoch",
    "step": 20,
    "epoch": 1.0,
    "epoch/activation_rate": 0.305,
    "epoch/target": 0.3,
    "val/accuracy": 71.5,
    "energy/nominal_savings": 0.688,
}
RESULT: dict[str, Any] = {
    "status": "finished",
    "epochs": 2,
    "epochs_planned": 2,
    "final_accuracy": 71.5,
    "best_accuracy": 72.0,
    "best_epoch": 1,
    "mean_activation_rate": 0.31,
    "last_quarter_activation_rate": 0.3012,
    "target": 0.3,
    "rows_trained": 31000,
    "rows_scored": 0,
    "rows_offered": 100000,
    "nominal_savings": 0.683,
    "skipped_share": 0.69,
    "seconds": {"train": 75.2, "val": 1.5, "score": 0.0},
    "control": {"settling_window": 12, "overshoot": 0.04, "rms_error": 0.003, "saturated_share": 0.0},
    "notes": ["read [this]"],
}


def run(result: dict[str, Any], *, terminal: bool, rows: int = 50, **options: Any) -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=120, color_system=None)
    tracker = ConsoleTracker(2, "ast [x] on cifar10", console=console, **options)
    for _ in range(rows):
        tracker.log(STEP)
    tracker.log(EPOCH)
    tracker.flush()
    tracker.load_state_dict(tracker.state_dict())
    tracker.finish(result)
    tracker.finish(result)
    return file.getvalue()


def test_plain_lines_where_there_is_no_terminal() -> None:
    out = run(RESULT, terminal=False, paths={"report": "/runs/1/report.html", "W&B files": "/runs/1/" + "x" * 150})
    lines = out.splitlines()
    assert lines[0] == (
        "epoch 1/2  rate 0.305  target 0.300  threshold 0.7123  loss 1.5000  accuracy 71.50 %  nominal savings 0.688"
    )
    assert "\x1b" not in out
    assert out.count("ast [x] on cifar10") == 1
    for fact in (
        "finished after 2 of 2 epochs",
        "72.00 % (epoch 1)",
        "0.3012 (target 0.3)",
        "31,000",
        "100,000",
        "68.3 % by the nominal cost model",
        "train 1 min 15 s, val 1.5 s",
        "settled at control row 12",
        NOT_MEASURED,
        "note: read [this]",
    ):
        assert fact in out
    assert lines[-2:] == ["report: /runs/1/report.html", "W&B files: /runs/1/" + "x" * 150]


def test_live_bar_on_a_terminal() -> None:
    out = run(RESULT, terminal=True, interval=0.0)
    assert "ast [x] on cifar10" in out
    assert "epoch 0.5/2" in out
    assert "rate 0.310  target 0.300  threshold 0.7123  loss 1.5000" in out
    assert out.count("\x1b[?25l") == out.count("\x1b[?25h") == 1, "the cursor comes back"
    assert "accuracy, best" in out


def test_live_updates_are_throttled() -> None:
    often, seldom = run(RESULT, terminal=True, interval=0.0), run(RESULT, terminal=True, interval=60.0)
    assert often.count("epoch 0.5/2") >= 50
    assert 1 <= seldom.count("epoch 0.5/2") <= 2


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("rows", [0, 3])
def test_a_failed_run_ends_cleanly(terminal: bool, rows: int) -> None:
    out = run({"status": "failed", "error": "RuntimeError: [oops]"}, terminal=terminal, rows=rows)
    assert "error: RuntimeError: [oops]" in out


def test_what_is_over_is_not_shown() -> None:
    file = io.StringIO()
    tracker = ConsoleTracker(2, "t", console=Console(file=file, width=200))
    for row in (STEP, EPOCH, {"kind": "step", "step": 30, "train/loss": 1.0}, EPOCH):
        tracker.log(row)
    first, second = file.getvalue().splitlines()
    assert ("threshold" in first, "threshold" in second) == (True, False)


def test_finish_before_any_row() -> None:
    file = io.StringIO()
    ConsoleTracker(2, "t", console=Console(file=file, force_terminal=True)).finish({"status": "interrupted"})
    assert "interrupted" in file.getvalue()


def test_status_line_leaves_out_what_is_absent() -> None:
    assert status_line({}) == ""
    assert status_line({"val/accuracy": 50.0}) == "accuracy 50.00 %"


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ({"energy/nominal_savings": 0.7, "energy/skipped_share": 0.7, "nominal_savings": 0.7}, {}),
        ({"energy/gpu_joules": 5.0, "x": 1}, {"energy/gpu_joules": 5.0}),
        (
            {"energy": {"gpu_joules": 5.0, "source": "nvml"}},
            {"energy/gpu_joules": 5.0, "energy/source": "nvml"},
        ),
        ({"gpu_joules": None}, {}),
    ],
)
def test_measured_energy(figures: dict[str, Any], expected: dict[str, Any]) -> None:
    assert measured_energy(figures) == expected


def test_measured_energy_is_shown() -> None:
    facts = dict(result_facts(RESULT | {"energy": {"gpu_joules": 12_300.0, "source": "nvml counter"}}))
    assert facts["energy"] == "gpu_joules 12.3 kJ, source nvml counter"


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.214, "3.21 s"), (245, "4 min 05 s"), (7380, "2 h 03 min"), (59.99, "60 s")]
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text
