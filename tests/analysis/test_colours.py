"""Colours and markers of the charts: apart from each other and from the paper, whatever the colour vision."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from compare_tools import write_arm

from ast_experiments import analysis
from ast_experiments.analysis.draw import COLORS, look
from ast_experiments.comparison.charts import accuracy_chart
from ast_experiments.comparison.compare import compare
from ast_experiments.comparison.runs import load

STYLE = (Path(analysis.__file__).parent / "templates" / "style.css").read_text()

# Machado et al., "A physiologically-based model for simulation of color vision deficiency", 2009, severity 1.
VISIONS = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_CONES = [[0.41222147, 0.53633254, 0.05144599], [0.2119035, 0.6806995, 0.1073969], [0.0883025, 0.2817188, 0.6299787]]
TO_OKLAB = [
    [0.2104543, 0.793617785, -0.00407205],
    [1.9779985, -2.4285922, 0.4505937],
    [0.0259040, 0.7827718, -0.8086758],
]


def colours(block: str) -> dict[str, np.ndarray]:
    """Returns linear RGB by name."""
    values = {}
    for name, code in re.findall(r"--(\w+): #(\w{6});", block):
        channels = np.array([int(code[i : i + 2], 16) for i in (0, 2, 4)]) / 255
        values[name] = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return values


BLOCKS = dict(zip(("light", "dark", "print"), STYLE.split(":root {")[1:], strict=True))


@pytest.mark.parametrize("paper", BLOCKS)
def test_colours_are_apart_from_each_other_and_from_the_paper(paper: str) -> None:
    found = colours(BLOCKS[paper])
    names = [*COLORS, "grey"]
    for vision, matrix in VISIONS.items():
        seen = {name: TO_OKLAB @ np.cbrt(TO_CONES @ np.clip(np.array(matrix) @ found[name], 0, 1)) for name in names}
        for one, other in combinations(names, 2):
            distance = np.linalg.norm(seen[one] - seen[other])
            assert distance > 0.06, f"{one} and {other} look alike: {vision}, {distance:.3f}"
    light = {name: float(found[name] @ [0.2126, 0.7152, 0.0722]) + 0.05 for name in (*names, "sheet")}
    for name in names:
        assert max(light[name], light["sheet"]) / min(light[name], light["sheet"]) > 2.9, name


def test_many_arms_differ_in_colour_or_marker() -> None:
    assert len({tuple(look(i).values()) for i in range(77)}) == 77
    assert len({look(i)["color"] for i in range(7)}) == len(COLORS)


def test_a_legend_names_a_dozen_arms(tmp_path: Path) -> None:
    for i in range(12):
        write_arm(tmp_path, "ast", [90 + i / 10], 50 + i, rate=0.1 + i / 20)
    drawing = accuracy_chart(compare(load([tmp_path]), "cifar10"), "seconds")
    assert drawing is not None
    assert drawing.count(">12 ast rate=") == 1
