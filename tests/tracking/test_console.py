"""The console: lines without a terminal, a bar on one."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from ast_experiments.tracking.console import ConsoleTracker, status_line
from ast_experiments.tracking.summary import NOT_MEASURED, result_facts, row_energy

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
    assert lines[0] == "epoch 1/2  rate 0.305  target 0.300  loss 1.5000  accuracy 71.50 %"
    assert "\x1b" not in out
    assert lines[1] == "resumed at epoch 1.0: 1 of 2 epochs completed"
    assert out.count("ast [x] on cifar10") == 1
    for fact in (
        "finished after 2 of 2 epochs",
        "72.00 % (epoch 1)",
        "0.3012 (target 0.3)",
        "31,000",
        "100,000",
        "train 1 min 15 s, val 1.5 s",
        NOT_MEASURED,
        "note: read [this]",
    ):
        assert fact in out
    for fact in ("nominal", "settled", "rows scored"):
        assert fact not in out, "the report has it"
    assert lines[-2:] == ["report: /runs/1/report.html", "W&B files: /runs/1/" + "x" * 150]


def test_live_bar_on_a_terminal() -> None:
    out = run(RESULT, terminal=True, interval=0.0)
    assert "ast [x] on cifar10" in out
    assert "epoch 0.5/2" in out
    assert out.count("epoch 1/2  rate 0.305") == 1, "the line of an epoch stays"
    assert "rate 0.310  target 0.300  threshold 0.7123  loss 1.5000" in out
    assert out.count("\x1b[?25l") == out.count("\x1b[?25h") == 1, "the cursor comes back"
    assert "accuracy, best" in out


def test_live_updates_are_throttled() -> None:
    often, seldom = run(RESULT, terminal=True, interval=0.0), run(RESULT, terminal=True, interval=60.0)
    assert often.count("epoch 0.5/2") >= 50
    assert 1 <= seldom.count("epoch 0.5/2") <= 5, "once, at each line above it, and at the end"


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("rows", [0, 3])
def test_a_failed_run_ends_cleanly(terminal: bool, rows: int) -> None:
    out = run({"status": "failed", "error": "RuntimeError: [oops]"}, terminal=terminal, rows=rows)
    assert "error: RuntimeError: [oops]" in out


def test_what_is_over_is_not_shown() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=200, color_system=None)
    tracker = ConsoleTracker(2, "t", console=console, interval=0.0)
    tracker.log(STEP)
    assert "threshold 0.7123" in file.getvalue()
    shown = len(file.getvalue())
    tracker.log({"kind": "step", "step": 30, "epoch": 0.6, "train/loss": 1.25})
    tracker.finish({"status": "finished"})
    assert "loss 1.2500" in file.getvalue()[shown:]
    assert "threshold" not in file.getvalue()[shown:]


def test_finish_before_any_row() -> None:
    file = io.StringIO()
    ConsoleTracker(2, "t", console=Console(file=file, force_terminal=True)).finish(
        {"status": "interrupted", "final_accuracy": 50.0}
    )
    assert "interrupted" in file.getvalue()
    assert "accuracy, so far" in file.getvalue()


def test_a_finished_epoch_shows_its_mean_loss() -> None:
    losses = {"train/loss": 0.3, "epoch/train_loss": 0.5}
    assert status_line(losses | {"kind": "epoch"}) == "loss 0.5000"
    assert status_line(losses | {"kind": "step"}) == "loss 0.3000"


@pytest.mark.parametrize(("status", "shown"), [("interrupted", False), ("failed", True)])
def test_an_interruption_is_no_error(status: str, shown: bool) -> None:
    output = io.StringIO()
    ConsoleTracker(1, "run", console=Console(file=output)).finish({"status": status, "error": "stopped by SIGINT"})
    assert ("error: stopped" in output.getvalue()) == shown


def test_status_line_leaves_out_what_is_absent() -> None:
    assert status_line({}) == ""
    assert status_line({"val/accuracy": 50.0}) == "accuracy 50.00 %"
    assert status_line({"energy/gpu_joules": 12345.6}) == "joules 12,346"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"energy/nominal_savings": 0.7, "energy/skipped_share": 0.7}, {}),
        ({"energy/gpu_joules": 5.0, "energy/gpu_power_w": 9.0, "x": 1}, {"gpu_joules": 5.0}),
    ],
)
def test_row_energy(row: dict[str, float], expected: dict[str, float]) -> None:
    assert row_energy(row) == expected


@pytest.mark.parametrize(
    ("energy", "text"),
    [
        (None, NOT_MEASURED),
        ({"source": None, "why_not": "no counters"}, f"{NOT_MEASURED} (no counters)"),
        ({"source": "nvml", "gpu_joules": 12_300.0}, "GPU 12.3 kJ (nvml)"),
        (
            {
                "source": "nvml",
                "gpu_joules": 4.56e6,
                "gpu_joules_above_idle": 850.0,
                "cpu_source": "rapl",
                "cpu_joules": 7,
            },
            "GPU 4.56 MJ (850 J above idle; nvml), CPU 7 J (rapl)",
        ),
        ({"source": None, "cpu_source": "rapl", "cpu_joules": 7.0, "why_not": "no GPU"}, "CPU 7 J (rapl)"),
    ],
)
def test_energy_in_words(energy: dict[str, Any] | None, text: str) -> None:
    assert dict(result_facts(RESULT | {"energy": energy}))["energy"] == text


@pytest.mark.parametrize(
    ("label", "changes", "text"),
    [
        (
            "gate share",
            {"selection": {"gate_share": 0.27992, "gate_target": 0.28, "bound": 0.000139}},
            "0.2799 (target 0.28), off by 8e-05; guaranteed to be within 0.00014",
        ),
        (
            "gate share",
            {"selection": {"gate_share": 0.3, "gate_target": 0.28, "bound": None}},
            "0.3000 (target 0.28), off by 0.02; no guarantee",
        ),
        (
            "compute savings",
            {"compute_savings": 0.352},
            "35.2 % of the FLOPs of training every offered row",
        ),
        (
            "joules by phase",
            {"energy": {"gpu_joules": 3e3, "by_phase": {"train": {"gpu_joules": 2800.0}, "val": {"gpu_joules": 200}}}},
            "train 2.8 kJ, val 200 J",
        ),
        (
            "carbon",
            {"energy": {"carbon": {"gco2e": 1.234, "g_per_kwh": 380.0, "source": "grid operator, 2025"}}},
            "1.234 g CO2e, at 380 g/kWh (grid operator, 2025)",
        ),
        (
            "wrong labels, estimate",
            {"label_noise_estimate": {"share": 0.22, "low": 0.104, "high": 0.237}, "scoring": None},
            "22 % (10 to 24 %)",
        ),
        (
            "wrong labels, estimate",
            {
                "label_noise_estimate": {"share": 0.22, "low": 0.104, "high": 0.237},
                "scoring": "stale",
                "method": "infobatch",
            },
            "22 % (10 to 24 %); infobatch may train them most often: compare with method=rs2",
        ),
        (
            "wrong labels, estimate",
            {
                "label_noise_estimate": {"share": 0.12, "low": 0.08, "high": 0.15},
                "scoring": "stale",
                "method": "ast",
                "selection": {"uniform_share": 0.6},
            },
            "12 % (8 to 15 %); 60 % of the rows that ast trains are now drawn uniformly",
        ),
        ("target accuracy", {"target_accuracy": 90.0, "target_reached": False}, "90 % was not reached"),
        (
            "target accuracy",
            {"target_accuracy": 90.0, "target_reached": True, "seconds_to_accuracy": 245.0, "joules_to_accuracy": 9e3},
            "90 % reached after 4 min 05 s and 9 kJ",
        ),
        (
            "target accuracy",
            {"target_accuracy": 90.0, "target_reached": True, "seconds_to_accuracy": 245.0, "joules_to_accuracy": None},
            "90 % reached after 4 min 05 s",
        ),
    ],
)
def test_facts_in_words(label: str, changes: dict[str, Any], text: str) -> None:
    assert dict(result_facts(RESULT | changes))[label] == text
    assert label not in dict(result_facts(RESULT))


@pytest.mark.parametrize(
    ("shared", "more"),
    [(None, ""), ([], ""), (["cores"], "; cores shared with other runs"),
     (["GPU", "cores"], "; GPU and cores shared with other runs")],
)  # fmt: skip
def test_shared_cores_stand_beside_the_time(shared: list[str] | None, more: str) -> None:
    seconds = dict(result_facts(RESULT | {"shared": shared}))["seconds by phase"]
    assert seconds == f"train 1 min 15 s, val 1.5 s{more}"
