"""Sweeps side by side."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ast_experiments.analysis.gains.page import render_sweep
from ast_experiments.analysis.leaderboard import (
    cells,
    finding,
    headings,
    leaderboard,
    legend,
    parse_overrides,
    print_leaderboard,
    to_csv,
    varied_keys,
)
from ast_experiments.runs.record import read_run

CONFIG = "method: {{name: ast}}\ncontroller: {{name: pi, kp: {kp}}}\n"


def result(kp: float, rms: float | None, **changes: Any) -> dict[str, Any]:
    control = {"settling_window": 4, "overshoot": 0.05, "rms_error": rms}
    return {
        "status": "finished",
        "overrides": ["method=ast", f"controller.kp={kp}", "+group=<b>study"],
        "control": control,
        "last_quarter_activation_rate": 0.3,
        "target": 0.3,
        "final_accuracy": 90.0,
        "compute_savings": 0.6,
        "nominal_savings": 0.7,
    } | changes


@pytest.fixture
def sweep(tmp_path: Path, run_in: Callable[..., Path]) -> Path:
    runs = {
        "0": result(0.1, 0.02),
        "1": result(0.2, 0.01),
        "2": result(0.3, None, status="failed", error="Traceback\nRuntimeError: <b>oops", control={}),
        "3": None,
        "4": result(0.5, float("nan"), status="interrupted", final_accuracy=95.0),
    }
    for i, (name, content) in enumerate(runs.items()):
        run_in(tmp_path / name, [], content, config=CONFIG.format(kp=(i + 1) / 10))
    return tmp_path


def test_rows_are_ranked(sweep: Path) -> None:
    rows = leaderboard(sweep)
    assert [row.run for row in rows] == ["1", "0", "4", "3", "2"]
    assert [row.status for row in rows] == ["finished", "finished", "interrupted", "unfinished", "failed"]
    assert [dict(row.overrides) for row in rows] == [
        {"controller.kp": kp} for kp in ("0.2", "0.1", "0.5", "0.4", "0.3")
    ]
    best, failed = rows[0], rows[-1]
    assert (best.settling_window, best.overshoot, best.rms_error, best.final_accuracy) == (
        4,
        0.05,
        0.01,
        90.0,
    )
    assert (failed.error, failed.rms_error) == ("RuntimeError: <b>oops", None)


def test_printed(sweep: Path) -> None:
    console = Console(file=io.StringIO(), width=160, color_system=None)
    print_leaderboard(leaderboard(sweep), console)
    assert isinstance(console.file, io.StringIO)
    out = console.file.getvalue()
    assert "\nkp " in out
    assert "2: RuntimeError: <b>oops" in out
    assert out.index("0.0100") < out.index("0.0200")


def test_csv(sweep: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(leaderboard(sweep)))))
    assert [row["run"] for row in rows] == ["1", "0", "4", "3", "2"]
    assert rows[0]["controller.kp"] == "0.2"
    assert float(rows[0]["rms_error"]) == 0.01
    assert float(rows[0]["savings"]) == 0.6
    assert rows[-1]["error"] == "RuntimeError: <b>oops"


def test_the_most_accurate_leads_where_controllers_are_equal(tmp_path: Path, run_in: Callable[..., Path]) -> None:
    for seed, accuracy, status in ((0, 80.0, "finished"), (1, 90.0, "finished"), (2, 99.0, "failed")):
        changes = {"overrides": [f"seed={seed}"], "final_accuracy": accuracy, "status": status}
        run_in(tmp_path / str(seed), [], result(0.1, 0.02 + seed) | changes)
    assert [row.run for row in leaderboard(tmp_path)] == ["1", "0", "2"]


def test_control_is_shown_where_it_was_varied(tmp_path: Path, run_in: Callable[..., Path]) -> None:
    control = dict.fromkeys(("control/threshold", "control/activation_rate", "control/target"), 0.5)
    steps = [{"kind": "step", "step": i, "samples_offered": i, "epoch": i / 4} for i in range(1, 10)]
    steps = [row | (control if row["step"] > 2 else {}) for row in steps]
    for key, shown in (("method.rate", True), ("controller.kp", True), ("recipe.lr", False)):
        for value, flops in ((0.1, 1e9), (0.2, 2e9)):
            changes = {"overrides": [f"{key}={value}"], "flops": {"train": flops, "val": None}, "final_accuracy": value}
            run_in(tmp_path / key / str(value), steps, result(0.1, 0.02) | changes)
        rows = leaderboard(tmp_path / key)
        assert [row.settling_epoch for row in rows] == [1.75, 1.75]  # the fifth row under control is the seventh
        assert ("settled" in headings(rows)) == ("settled: epochs" in legend(rows)) == shown
        assert len(headings(rows)) == len(cells(rows[0]))
        assert ("cost the most, in FLOPs" in finding(rows)) == (key != "controller.kp")


def test_a_run_that_was_never_under_control_says_so(tmp_path: Path, run_in: Callable[..., Path]) -> None:
    signals = dict.fromkeys(("control/threshold", "control/activation_rate", "control/target"), 0.4)
    steps = [{"kind": "step", "step": i, "samples_offered": 5000 * i, "epoch": i / 4} for i in range(1, 10)]
    for rate, control in ((0.2, None), (0.4, {"rms_error": 0.02})):
        rows = [row | (signals if control else {}) for row in steps]
        changes = {"overrides": [f"method.rate={rate}"], "control": control}
        run_in(tmp_path / str(rate), rows, result(0.1, 0.0) | changes)
    rows = leaderboard(tmp_path)
    assert ["no control" in cells(row) for row in rows] == [True, False]
    assert "no control: the run ended before its controller began" in legend(rows)
    assert "no control" not in legend(rows[1:])
    page = render_sweep(tmp_path, rows, {row.run: read_run(tmp_path / row.run) for row in rows})
    assert re.findall("Not drawn, because never under control: (.*?)<", page) == ["rate 0.2."]


def test_one_run_and_none(tmp_path: Path, run_in: Callable[..., Path]) -> None:
    assert leaderboard(tmp_path) == []
    assert to_csv([]).startswith("run,status,final_accuracy")
    run_in(tmp_path / "only", [], result(0.1, 0.02))
    console = Console(file=io.StringIO(), width=160)
    print_leaderboard(leaderboard(tmp_path), console)
    assert isinstance(console.file, io.StringIO)
    assert "only" in console.file.getvalue()


@pytest.mark.parametrize(
    ("overrides", "parsed"),
    [
        (["a.b=1", "+c=x=y", "++d=2"], {"a.b": "1", "c": "x=y", "d": "2"}),
        (["~e", "~f=3"], {"e": "(removed)", "f": "(removed)"}),
        ([], {}),
    ],
)
def test_overrides(overrides: list[str], parsed: dict[str, str]) -> None:
    assert parse_overrides(overrides) == parsed


def test_varied_keys() -> None:
    unnamed = {"tracking.console": "false", "tags": "[x]", "checkpoint_every_s": "9", "hydra/launcher": "joblib"}
    given = [{"a": "1", "b": "1"}, {"a": "2", "b": "1", "c": "1"} | unnamed, {}]
    assert varied_keys(given) == ["a", "c"]
    assert varied_keys([]) == []
