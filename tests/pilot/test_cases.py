"""The measured cases are those of the files in docs/measurements."""

from __future__ import annotations

import json

import pytest

from ast_experiments.core.errors import DataError
from ast_experiments.pilot.cases import FOLDER, NAMES, measured_cases


def test_the_strong_baseline_has_the_figures_of_the_results_page():
    cases = measured_cases()
    text = " ".join((FOLDER.parent / "results.md").read_text().split())
    plain, views = cases["speedrun"], cases["speedrun_views"]
    for case in (plain, views):
        assert f"{case.points:.2f} points [{case.low:.2f}, {case.high:.2f}]" in text
    assert (plain.pays, views.pays) == (True, True)
    assert f"it saves {100 * views.saved:.0f} % of the FLOPs" in text


def test_every_regime_that_was_measured_is_a_case():
    kept = json.loads((FOLDER / "regimes.json").read_text())["regimes"]
    cases = measured_cases()
    assert set(kept) <= set(NAMES)
    assert set(kept) <= set(cases)
    pairs = kept["tail_50"]["differences"]["ast rate=0.5 rate_schedule=auto"].values()
    tail = cases["tail_50"]
    assert tail.points == pytest.approx(min(pair["mean"] for pair in pairs), abs=0.006)
    assert tail.pays
    assert tail.epochs == 4
    assert "the rarest class 1:50" in str(tail)


def test_missing_files_leave_cases_out_and_damaged_ones_are_one_line(tmp_path):
    assert measured_cases(tmp_path) == {}
    (tmp_path / "regimes.json").write_text("{")
    with pytest.raises(DataError, match=r"regimes\.json"):
        measured_cases(tmp_path)
