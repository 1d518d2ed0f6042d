"""The report: every state of a run, escaped, self-contained, small."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ast_experiments.analysis.curves import panels
from ast_experiments.analysis.draw import Panel, Series, svg, thin
from ast_experiments.analysis.report import write_report
from ast_experiments.runs.record import RunRecord

Rows = list[dict[str, Any]]
Make = Callable[..., Any]
EVIL = "<script>alert('x')</script> & \"more\""


def page(directory: Path) -> str:
    path = write_report(directory)
    assert path == directory / "report.html"
    html = path.read_text()
    assert not re.search(r'(?:src|href)="(?!#|data:)', html.replace("xlink:href", "href")), "self-contained"
    assert "@import" not in html
    assert "url(http" not in html
    assert not list(directory.glob("*.part"))
    return html


def charts(html: str) -> list[str]:
    return re.findall(r"<figcaption>([^<]*)<", html)


def test_finished(tmp_path: Path, controlled_rows: Rows, result_of: Make, run_in: Make) -> None:
    html = page(run_in(tmp_path, controlled_rows, result_of(controlled_rows, notes=["resumed twice"])))
    assert charts(html) == [
        "Validation accuracy",
        "Activation rate",
        "Threshold",
        "Loss",
        "Rows",
        "Time",
        "Savings (nominal)",
    ]
    for text in (
        'class="badge finished"',
        "ast on cifar10, resnet18",
        "resumed twice",
        "not measured on this machine",
        "0123abcd",
        "torch: 2.15.0",
        " rows offered under control",
        "oc.env:HOME",
    ):
        assert text in html
    assert "#0a0b" not in html, "every colour follows the page"


def test_dense(tmp_path: Path, dense_rows: Rows, result_of: Make, run_in: Make) -> None:
    result = result_of(dense_rows, method="dense", controller=None, significance=None)
    html = page(run_in(tmp_path, dense_rows, result))
    subtitle = html[html.index('<p class="sub quiet">') :].partition("</p>")[0]
    assert "seed 0" in subtitle
    assert "controller" not in subtitle, "dense uses none, though the configuration names one"
    assert charts(html) == ["Validation accuracy", "Loss", "Rows", "Time"]
    assert "settled" not in html


@pytest.mark.parametrize("status", ["failed", "interrupted", None])
def test_cut_short(status: str | None, tmp_path: Path, controlled_rows: Rows, result_of: Make, run_in: Make) -> None:
    rows = controlled_rows[:150]
    errors = {"failed": "RuntimeError: out of memory", "interrupted": "stopped by SIGTERM"}
    changes = {"error": errors[status]} if status in errors else {}
    html = page(run_in(tmp_path, rows, status and result_of(rows, status, **changes)))
    assert f'class="badge {status or "unfinished"}"' in html
    assert ("The run failed" in html) == ("out of memory" in html) == (status == "failed")
    assert (f"Stopped by SIGTERM. Resume: ast-resume {tmp_path}" in html) == (status == "interrupted")
    assert "ast on cifar10" in html
    assert "Threshold" in charts(html)
    assert re.search(r"<div>accuracy</div><strong>\d\d\.\d\d %", html)


def test_a_loop_of_your_own_resumes_by_its_own_means(tmp_path: Path, run_in: Make) -> None:
    html = page(run_in(tmp_path, [], {"status": "interrupted", "error": "KeyboardInterrupt: ", "recipe": "own"}))
    assert '<div class="box">KeyboardInterrupt.</div>' in html


@pytest.mark.parametrize("result", [None, {"status": "failed", "error": "ValueError: no data"}, {}])
def test_nothing_but_a_beginning(result: dict[str, Any] | None, tmp_path: Path, run_in: Make) -> None:
    html = page(run_in(tmp_path, [], result))
    assert charts(html) == []
    assert "ast on cifar10" in html


@pytest.mark.parametrize(("accuracy", "steps", "there"), [(10.5, 100, False), (50.0, 100, True), (50.0, 99, False)])
def test_a_network_that_has_learned_nothing_estimates_no_wrong_labels(
    accuracy: float, steps: int, there: bool, tmp_path: Path, controlled_rows: Rows, result_of: Make, run_in: Make
) -> None:
    figures = {"final_accuracy": accuracy, "steps": steps, "classes": 10, "val_samples": 1000}
    estimate = {"share": 0.3, "low": 0.2, "high": 0.4, "suspects": 9}
    html = page(run_in(tmp_path, [], result_of(controlled_rows, label_noise_estimate=estimate, **figures)))
    assert ("wrong labels, estimate" in html) is ("label_noise_estimate" in html) is there


def test_values_are_escaped(tmp_path: Path, controlled_rows: Rows, result_of: Make, run_in: Make) -> None:
    rows = [row | {"energy/<b>joules": 5.0, "time/<b>_s": 1.0} for row in controlled_rows[:60]]
    result = result_of(rows, "failed", error=EVIL, method=EVIL, tags=[EVIL], notes=[EVIL])
    result |= {"versions": {EVIL: EVIL}, EVIL: EVIL}
    html = page(run_in(tmp_path, rows, result, config=f"x: {EVIL!r}\n"))
    assert html.count("<script>") == 1, "the page's own"
    assert set(re.findall("<script[^>]*>", html)) == {"<script>", '<script type="application/json">'}
    assert "<b>" not in html
    assert "alert(" in html


@pytest.mark.parametrize("finished", [True, False])
def test_measured_energy_is_shown(
    finished: bool, tmp_path: Path, controlled_rows: Rows, result_of: Make, run_in: Make
) -> None:
    rows = [
        row
        | ({"energy/gpu_joules": 900.0 * row["epoch"], "energy/gpu_power_w": 70.0} if row["kind"] == "epoch" else {})
        for row in controlled_rows
    ]
    energy = {"source": "nvml", "gpu_joules": 27_000.0, "gpu_joules_above_idle": 20_000.0}
    html = page(run_in(tmp_path, rows, result_of(rows, energy=energy) if finished else None))
    assert {"Energy (measured)", "Power (measured)"} < set(charts(html))
    assert "<div>energy, GPU</div><strong>27 kJ</strong>" in html
    assert ("GPU 27 kJ (20 kJ above idle; nvml)" in html) == finished
    assert "not measured" not in html


def test_a_shared_machine_stands_beside_the_time(
    tmp_path: Path, controlled_rows: Rows, result_of: Make, run_in: Make
) -> None:
    result = result_of(controlled_rows, shared=["cores"])
    assert re.search(
        r"<div>time</div>.*\n?.*set-up [^<]*; cores shared with other runs</div>",
        page(run_in(tmp_path, controlled_rows, result)),
    )


def test_why_nothing_was_measured(tmp_path: Path, controlled_rows: Rows, result_of: Make, run_in: Make) -> None:
    energy = {"source": None, "cpu_source": None, "why_not": "CPU: rapl: no counters"}
    html = page(run_in(tmp_path, controlled_rows, result_of(controlled_rows, energy=energy)))
    assert "not measured on this machine (CPU: rapl: no counters)" in html
    assert "<div>energy</div><strong>not measured</strong>" in html


def test_twenty_thousand_rows(tmp_path: Path, rows_of: Make, result_of: Make, run_in: Make) -> None:
    rows = rows_of(epochs=170, log_every=1)
    assert len(rows) > 20_000
    run_in(tmp_path, rows, result_of(rows))
    start = time.perf_counter()
    html = page(tmp_path)
    assert time.perf_counter() - start < 60  # 0.8 s alone on two cores
    assert len(html.encode()) < 600_000


def test_the_page_is_a_function_of_the_files(
    tmp_path: Path, controlled_rows: Rows, result_of: Make, run_in: Make
) -> None:
    run_in(tmp_path, controlled_rows, result_of(controlled_rows))
    assert page(tmp_path) == page(tmp_path)


@pytest.mark.parametrize(("exists", "code"), [(True, 0), (False, 1)])
def test_command(exists: bool, code: int, tmp_path: Path, run_in: Make) -> None:
    if exists:
        run_in(tmp_path, [], {"status": "interrupted"})
    done = subprocess.run(
        [sys.executable, "-m", "ast_experiments.analysis.report", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert done.stdout == (f"{tmp_path / 'report.html'}\n" if exists else "")
    assert ("is not a run directory" in done.stderr) is not exists


@pytest.mark.parametrize("n", [0, 1, 800, 801, 20_000])
def test_thinning_keeps_the_extremes(n: int) -> None:
    rng = np.random.default_rng(n)
    x, y = np.arange(n), rng.normal(size=n)
    few_x, few_y = thin(x, y, 800)
    assert len(few_x) == len(few_y) <= 802
    np.testing.assert_array_equal(y[few_x.astype(int)], few_y)
    assert (np.diff(few_x) > 0).all()
    if n:
        assert (few_y.min(), few_y.max()) == (y.min(), y.max())
        assert (few_x[0], few_x[-1]) == (0, n - 1)


def test_one_point_is_enough() -> None:
    drawing = svg(Panel("t", "c", (Series("s", np.ones(1), np.ones(1), "c1"),)))
    assert drawing.startswith("<svg")
    assert "var(--c1)" in drawing


def test_uncontrolled_selection_shows_its_epoch_rates(controlled_rows: Rows) -> None:
    epochs = [row for row in controlled_rows if row["kind"] == "epoch"]
    rates = panels(RunRecord(Path(), epochs=epochs))[1]
    assert rates.title == "Activation rate"
    assert [series.label for series in rates.series] == ["rate, by epoch", "target"]


def test_values_above_the_ceiling_are_cut_off() -> None:
    spiky = Series("s", np.arange(4.0), np.array([0.3, 64.0, 0.3, 0.3]), "c1")
    cut = svg(Panel("t", "c", (spiky,), from_zero=True, ceiling=1.05))
    assert ">60<" in svg(Panel("t", "c", (spiky,)))
    assert ">60<" not in cut
    assert re.search(r">0?\.\d+<|>1\.\d+<", cut)
    low = Series("s", np.arange(2.0), np.array([0.1, 0.2]), "c1")
    assert svg(Panel("t", "c", (low,), ceiling=1.05)) == svg(Panel("t", "c", (low,)))
