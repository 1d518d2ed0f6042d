"""Charts of accuracy against the swept settings."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest

from ast_experiments.analysis.by_setting import accuracy_charts
from ast_experiments.analysis.leaderboard import LeaderboardRow


def rows_of(grid: dict[str, Sequence[str]], accuracies: Sequence[float]) -> list[LeaderboardRow]:
    combinations = list(product(*grid.values()))
    return [
        LeaderboardRow(f"{i}", "finished", dict(zip(grid, values, strict=True)), final_accuracy=accuracy)
        for i, (values, accuracy) in enumerate(zip(combinations, accuracies, strict=True))
    ]


def data(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json">(.*)</script>', html, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_means_ranges_and_runs_over_numbers() -> None:
    rows = rows_of({"method.rate": ["0.4", "0.04", "0.1"], "seed": ["0", "1"]}, [91, 93, 80, 82, 85, 85])
    [(title, caption, html)] = accuracy_charts(rows)
    assert title == "Accuracy against method.rate"
    assert "mean of the runs that share a value, with their range" in caption
    found = data(html)
    assert (found["x"]["label"], found["x"]["log"]) == ("method.rate, rows trained / rows offered", True)
    assert found["y"]["label"] == "accuracy, %"
    runs, mean = found["series"]
    assert runs | {"x": [0.04, 0.04, 0.1, 0.1, 0.4, 0.4], "y": [80, 82, 85, 85, 91, 93]} == runs
    assert mean == {
        "name": "mean",
        "kind": "points",
        "x": [0.04, 0.1, 0.4],
        "y": [81, 85, 92],
        "low": [80, 85, 91],
        "high": [82, 85, 93],
    }


@pytest.mark.parametrize(
    ("values", "log"),
    [(["0.1", "0.9"], False), (["1e-3", "0.01"], True), (["0", "100"], False), (["-1", "100"], False)],
)
def test_an_axis_is_logarithmic_from_a_factor_of_ten(values: list[str], log: bool) -> None:
    [(_, caption, html)] = accuracy_charts(rows_of({"recipe.lr": values}, [90, 91]))
    found = data(html)
    assert caption == "Last validation of the finished runs."
    assert found["x"]["log"] is log
    assert found["series"] == [{"name": "run", "kind": "line", "x": [*map(float, values)], "y": [90, 91]}]


def test_texts_are_rows_and_numbers_come_first() -> None:
    grid = {"recipe.ema_decay": ["null", "0.99", "0.9"], "seed": ["0", "1"]}
    [(_, _, html)] = accuracy_charts(rows_of(grid, [90, 92, 80, 82, 70, 72]))
    found = data(html)
    assert found["rows"] == ["0.9", "0.99", "null"]
    assert (found["x"]["label"], found["y"]["label"]) == ("accuracy, %", "recipe.ema_decay")
    mean = found["series"][1]
    assert (mean["x"], mean["y"], mean["low"], mean["high"]) == ([71, 81, 91], [0, 1, 2], [70, 80, 90], [72, 82, 92])


def test_a_second_setting_gives_a_curve_for_each_of_few_values() -> None:
    rows = rows_of({"method": ["dense", "ast"], "recipe.epochs": [*"1234567"]}, [*range(50, 64)])
    (_, by_row, method), (_, by_number, epochs) = accuracy_charts(rows)
    assert by_row.endswith("The runs of a value also differ in recipe.epochs.")
    assert "also differ" not in by_number
    assert [each["name"] for each in data(method)["series"]] == ["single run", "mean"]
    curves = {each["name"]: each["y"] for each in data(epochs)["series"]}
    assert curves == {"method dense": [*range(50, 57)], "method ast": [*range(57, 64)]}


def test_values_that_are_spelt_differently_are_one() -> None:
    [(title, _, html)] = accuracy_charts(rows_of({"a.b": ["0.001", "1e-3", "2"], "c": ["None", "null"]}, [*range(6)]))
    assert title == "Accuracy against a.b"
    assert data(html)["series"][1]["x"] == [0.001, 2]


def test_no_chart_of_seeds_of_one_value_or_of_unfinished_runs() -> None:
    assert accuracy_charts([]) == []
    assert accuracy_charts(rows_of({"seed": ["0", "1", "2"]}, [90, 91, 92])) == []
    rows = rows_of({"method.rate": ["0.1", "0.2"]}, [90, 91])
    assert accuracy_charts([rows[0], LeaderboardRow("1", "failed", {"method.rate": "0.2"}, final_accuracy=91)]) == []
    assert accuracy_charts([rows[0], LeaderboardRow("1", "finished", {"method.rate": "0.2"})]) == []


def test_texts_are_no_formulas() -> None:
    values = ["$a_{^$", "${b}/$c", "<b>" * 40]
    drawn = accuracy_charts(rows_of({"recipe.soft_labels": values, "d.$e_{^$": ["1", "2"]}, [100.0] * 6))
    assert data(drawn[0][2])["rows"][:2] == values[:2]
    assert {f"soft_labels {value}" for value in values[:2]} < {each["name"] for each in data(drawn[1][2])["series"]}
