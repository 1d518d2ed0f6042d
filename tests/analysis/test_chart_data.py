"""The data that a page holds behind each chart."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from ast_experiments.analysis.chart_data import Cells
from ast_experiments.analysis.draw import Panel, Series, chart, svg


def data(html: str) -> dict[str, Any]:
    found = re.fullmatch(r'<svg.*</svg>\s*<script type="application/json">(.*)</script>', html, re.DOTALL)
    assert found, html[-200:]
    return json.loads(found[1])


def test_curves_and_their_frame() -> None:
    x = np.arange(5.0)
    found = data(
        svg(Panel("t", "c", (Series("rate", x, x / 10, "c1"), Series("b", x, x, "c6", "band")), ylabel="share"))
    )
    assert found["series"] == [{"name": "rate", "kind": "line", "x": [0, 1, 2, 3, 4], "y": [0, 0.1, 0.2, 0.3, 0.4]}]
    assert found["x"]["label"] == "epoch"
    assert found["y"]["label"] == "share"
    left, top, right, bottom = found["frame"]
    assert 0 < left < right <= 360
    assert 0 <= top < bottom < 0.48 * 360 + 1


def test_points_with_intervals() -> None:
    def draw(axes: Any) -> None:
        axes.errorbar([1.0], [90.0], xerr=[0.0], yerr=[2.0], label="ast", linestyle="none", marker="o")
        axes.set_xscale("log")

    found = data(chart(draw, "s"))
    assert found["series"] == [{"name": "ast", "kind": "points", "x": [1], "y": [90], "low": [88], "high": [92]}]
    assert found["x"]["log"]


def test_bars_and_points_by_row() -> None:
    def draw(axes: Any) -> None:
        axes.barh([0, 1], [3.0, 4.0], label="train")
        axes.plot(2.0, 1, "o", label="mean", linestyle="none")
        axes.set_yticks([0, 1], ["dense", "ast"])

    found = data(chart(draw, "s"))
    assert found["rows"] == ["dense", "ast"]
    assert {each["name"]: each["x"] for each in found["series"]} == {"mean": [2], "train": [3, 4]}


def test_what_is_not_finite_is_missing() -> None:
    found = data(svg(Panel("t", "c", (Series("rate", np.arange(2.0), np.array([np.nan, 1.0]), "c1"),))))
    assert found["series"][0]["y"] == [None, 1]


@pytest.mark.parametrize("name", ["</script><script>alert(1)</script>", "<!--", "a & b"])
def test_a_hostile_name_ends_no_element(name: str) -> None:
    html = svg(Panel("t", "c", (Series(name, np.arange(2.0), np.arange(2.0), "c1"),)))
    assert data(html)["series"][0]["name"] == name
    assert html.count("</script>") == 1


def test_nothing_named() -> None:
    assert "<script" not in chart(lambda axes: axes.plot([1, 2]), "s")


def test_a_map_has_its_cells() -> None:
    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], label="boundary")
        axes.set_xlabel("kp")
        axes.set_ylabel("ki")

    cells = Cells("Accuracy", ["1", "2"], ["derived (6.5)"], {(0, 0): "91.00", (1, 0): "never"})
    found = data(chart(draw, "s", cells=cells))
    assert found["series"] == []
    assert found["cells"] == {
        "name": "Accuracy",
        "values": [["1", "derived (6.5)", "91.00"], ["2", "derived (6.5)", "never"]],
    }
    assert (found["columns"], found["rows"]) == (["1", "2"], ["derived (6.5)"])


def test_points_with_known_ends() -> None:
    def draw(axes: Any) -> None:
        (point,) = axes.plot(12.0, 0, "o", label="1 ast", linestyle="none")
        point.ends = (8.0, float("inf"))

    (found,) = data(chart(draw, "s"))["series"]
    assert found == {"name": "1 ast", "kind": "points", "x": [12], "y": [0], "low": [8], "high": [None]}
