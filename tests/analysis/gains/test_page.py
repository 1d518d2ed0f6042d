"""The page of a sweep, from files alone."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ast_experiments.analysis.gains.charts import Axis
from ast_experiments.analysis.gains.figures import Point, Theory, advise
from ast_experiments.analysis.gains.page import main, write_sweep
from ast_experiments.analysis.leaderboard import LeaderboardRow

KP, KI = ("1.0", "null", "30.0"), ("0.4", "null", "12.0")
DERIVED = 7 / 3  # (1 - 0.3) / (0.3 f 2) for f = 1/2

CONFIG = """\
method: {{name: ast}}
controller: {{name: pi, kp: {kp}, ki: {ki}, alpha: 0.3, settling_windows: 2.0}}
"""


def point(kp: str, ki: str, gains: tuple[float, float], **figures: float | None) -> Point:
    row = LeaderboardRow(f"{kp}-{ki}", "finished", {"controller.kp": kp, "controller.ki": ki})
    known = dict.fromkeys(("settling_epoch", "overshoot", "rms_error", "final_accuracy", "savings"))
    return Point(kp, ki, {}, gains, (row,), known | figures)


@pytest.fixture
def sweep(
    tmp_path: Path, run_in: Callable[..., Path], rows_of: Callable[..., list], result_of: Callable[..., dict]
) -> Path:
    """3 x 3 gains: one run failed, one is under way, one never settled."""
    rows = rows_of(epochs=4, rows=2_000, batch=100, log_every=2, warmup=1)
    states = {("1.0", "0.4"): "failed", ("1.0", "12.0"): "running"}
    for i, (kp, ki) in enumerate(product(KP, KI)):
        used = {"control/kp": DERIVED if kp == "null" else float(kp), "control/ki": 1.0 if ki == "null" else float(ki)}
        told = [row | used if "control/threshold" in row else row for row in rows]
        control: dict[str, Any] = {"settling_window": 3 + i, "overshoot": 0.01 * i, "rms_error": 0.01 + 0.0001 * i}
        if (kp, ki) == ("30.0", "12.0"):
            control["settling_window"] = None
        status = states.get((kp, ki), "finished")
        changes: dict[str, Any] = {
            "overrides": [f"controller.kp={kp}", f"controller.ki={ki}"],
            "control": control if status == "finished" else {},
            "error": "Diverged: <b>" if status == "failed" else None,
            "compute_savings": 0.5,
        }
        result = result_of(told, status, **changes)
        run_in(tmp_path / f"{i}", told, result, config=CONFIG.format(kp=kp, ki=ki))
    return tmp_path


def test_the_page_is_whole_whatever_state_the_runs_are_in(sweep: Path) -> None:
    page, table = write_sweep(sweep)
    text = page.read_text()
    assert "7 finished, 1 running, 1 failed" in text
    for title in ("Settled", "Overshoot", "RMS error of the rate", "Accuracy", "Savings", "All runs"):
        assert f"<figcaption>{title}" in text
    assert "<figcaption>Accuracy against controller.kp" in text
    assert text.count("<svg") == 8
    assert text.count("stability boundary, theory") == 5
    assert "Recommended: kp and ki derived" in text
    assert "stable if kp + ki/2 &lt; 5.67 / f" in text
    assert "from 0.5 (solid line) to 0.5 (dashed line)" in text
    assert "never" in text
    assert "Diverged: &lt;b&gt;" in text
    outside = set(re.findall(r'(?:href|src)="([^"#]+)"|url\(([^#)]+)\)', text))
    assert not outside, "nothing but anchors: no run has a report here, and the page needs no other file"
    with table.open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 9
    assert sorted(path.name for path in sweep.iterdir() if path.is_file()) == ["leaderboard.csv", "report.html"]


def test_command(sweep: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for path in [*sweep.glob("[1-9]/*"), *sweep.glob("[1-9]")]:
        path.unlink() if path.is_file() else path.rmdir()
    monkeypatch.setattr("sys.argv", ["sweep_report", str(sweep)])
    main()
    assert "Leaderboard" in capsys.readouterr().out
    (sweep / "empty").mkdir()
    monkeypatch.setattr("sys.argv", ["sweep_report", str(sweep / "empty")])
    with pytest.raises(SystemExit, match="contains no runs"):
        main()


def test_a_row_that_lacks_what_was_offered_costs_only_its_run(sweep: Path) -> None:
    path = sweep / "4" / "metrics.jsonl"
    first, *others = path.read_text().splitlines()
    row = json.loads(first)
    del row["samples_offered"]
    path.write_text("\n".join([json.dumps(row), *others]))
    result = json.loads((sweep / "5" / "result.json").read_text())
    result["control"]["rms_error"] = float("nan")
    (sweep / "5" / "result.json").write_text(json.dumps(result))
    text = write_sweep(sweep)[0].read_text()
    assert "Recommended" in text
    assert "All runs" in text


def test_a_sweep_without_gains_has_rates_and_a_leaderboard(sweep: Path) -> None:
    for i, path in enumerate(sorted(sweep.glob("*/result.json"))):
        result = json.loads(path.read_text())
        path.write_text(json.dumps(result | {"overrides": [f"seed={i}"]}))
    text = write_sweep(sweep)[0].read_text()
    assert "Recommended" not in text
    assert "By gains" not in text
    assert text.count("<svg") == 1


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        # derived gains come first among equals ...
        ({"a": (5, 0.0, 0.0100), "derived": (9, 0.1, 0.0105)}, "derived"),
        # ... but not if they are worse by more than a tenth and 1 % of the target,
        ({"a": (5, 0.0, 0.0100), "derived": (9, 0.1, 0.0145)}, "a"),
        # where the first to settle, then the least overshoot decides
        ({"a": (5, 0.3, 0.0100), "b": (4, 0.4, 0.0105)}, "b"),
        ({"a": (4, 0.3, 0.0105), "b": (4, 0.2, 0.0100)}, "b"),
        ({"a": (None, 0.3, 0.0001), "b": (4, 0.2, 0.0100)}, "b"),
        ({"a": (None, 0.3, 0.0001)}, None),
    ],
)
def test_advice(figures: dict[str, tuple[float | None, float, float]], expected: str | None) -> None:
    gains = {"a": ("1", "1"), "b": ("2", "1"), "derived": ("null", "null")}
    points = {
        name: point(*gains[name], (1.0, 1.0), settling_epoch=settled, overshoot=over, rms_error=rms)
        for name, (settled, over, rms) in figures.items()
    }
    found = advise(list(points.values()), 0.4, None)
    assert (None if found is None else found.point) == points.get(expected or "")


@pytest.mark.parametrize(
    ("ki", "said"),
    [
        # f = 1, alpha = 0.3: kp may be 17/3 - ki/2
        (2.0, "In theory it is inside the stable region, a factor 4.7 from the boundary."),
        (11.0, "In theory it is outside the stable region, a factor 6.0 from the boundary."),
        (12.0, "In theory no kp is stable with this ki."),
    ],
)
def test_where_advised_gains_lie(ki: float, said: str) -> None:
    best = point("1.0", str(ki), (1.0, ki), settling_epoch=5, rms_error=0.01)
    found = advise([best], 0.4, Theory("pi", 0.3, 2.0, (1.0, 1.0)))
    assert found is not None
    assert said in found.reasons
    assert "It settles after 5.0 epochs." in found.reasons


def test_the_margin_of_derived_gains_does_not_depend_on_the_scores() -> None:
    law = Theory("pi", 0.3, 2.0, (0.05, 5.0))
    # f kp = 7/6, f ki = 1/2: kp may be 17/3 - 1/4 over f
    assert law.margin(point("null", "null", (3.0, 1.0))) == pytest.approx(np.log((17 / 3 - 1 / 4) / (7 / 6)))
    assert law.margin(point("1", "2", (1.0, 2.0))) == pytest.approx(np.log((17 / 15 - 1) / 1.0))
    assert law.margin(point("1", "null", (1.0, np.nan))) == pytest.approx(np.log(17 / 15 - 3 / 14))


def test_an_axis_places_values_between_the_labels() -> None:
    points = [point(kp, ki, (kp_value, 1.0)) for kp, ki, kp_value in
              (("100", "1", 100.0), ("null", "1", 3.0), ("null", "null", 10.0), ("1", "1", 1.0))]  # fmt: skip
    axis = Axis(points, 0)
    assert axis.tick_labels() == ["1", "derived\n(10)", "100"]
    assert axis.position(np.array([0.1, 1, 10**0.5, 10, 1000])) == pytest.approx([-1, 0, 0.5, 1, 3])
    assert np.isnan(Axis(points[:1], 0).position(np.array([1.0]))).all()
