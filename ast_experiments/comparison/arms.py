"""Arms: sets of runs that differ only in the seed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ast_experiments.analysis.leaderboard import varied_keys
from ast_experiments.comparison.runs import UNIFORM, Run
from ast_experiments.comparison.stats import Floats

_FIRST = (
    "method.scoring",
    "method.pick",
    "method.rate",
    "controller.name",
    "significance.name",
    "recipe.epochs",
    "recipe.lr",
)


@dataclass(frozen=True, slots=True)
class ArmRuns:
    """Runs that differ only in the seed.

    Attributes:
        number: Number in tables and charts.
        label: Method, plus the settings that distinguish it from other arms of the method.
        runs: Finished runs.
        failed: Number of failed runs.
    """

    number: int
    label: str
    runs: tuple[Run, ...]
    failed: int = 0

    @property
    def uniform(self) -> bool:
        """Whether the method chooses no sample for what it is."""
        return self.runs[0].uniform

    @property
    def method(self) -> str:
        """Name of the method."""
        return self.runs[0].method

    @property
    def baseline_only(self) -> bool:
        """Whether all its runs are tagged as baselines of another arm."""
        return all(any(tag.startswith("baseline=") for tag in run.tags) for run in self.runs)

    @property
    def seeds(self) -> list[int]:
        """Seeds in ascending order."""
        return sorted({run.seed for run in self.runs})

    def values(self, key: str, seeds: Sequence[int] | None = None) -> Floats:
        """Returns a figure by seed, shape (seeds,): the mean of runs with the same seed, NaN if there is none."""
        found: dict[int, list[float]] = {}
        for run in self.runs:
            if key in run.figures:
                found.setdefault(run.seed, []).append(run.figures[key])
        wanted = self.seeds if seeds is None else seeds
        return np.array([np.mean(found[seed]) if seed in found else np.nan for seed in wanted], dtype=np.float64)

    def mean(self, key: str) -> float:
        """Returns the mean over seeds; NaN if no run has the figure."""
        values = self.values(key)
        return float(np.nanmean(values)) if np.isfinite(values).any() else np.nan


def group(runs: Sequence[Run], failed: Sequence[Run] = (), *, measured: bool) -> list[ArmRuns]:
    """Groups runs into arms.

    Args:
        runs: Runs of one data set.
        failed: Failed runs, counted for the arm with the same settings.
        measured: Whether different hardware makes a different arm, as needed for seconds and joules.

    Returns:
        Arms, baselines first, then by method; numbered from 1.
    """
    grouped: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        hardware = tuple(sorted(run.hardware.items())) if measured else ()
        key = (run.method, tuple(sorted(run.settings.items())), tuple(sorted(run.facts.items())), hardware)
        grouped.setdefault(key, []).append(run)
    arms = [ArmRuns(0, "", tuple(members)) for members in grouped.values()]
    order = {method: i for i, method in enumerate(UNIFORM)}
    arms.sort(key=lambda arm: (order.get(arm.method, len(order)), arm.method, arm.baseline_only, -arm.mean("samples")))
    return [
        replace(arm, number=number, label=label, failed=sum(_same(run, arm.runs[0]) for run in failed))
        for number, (arm, label) in enumerate(zip(arms, labels(arms), strict=True), start=1)
    ]


def labels(arms: Sequence[ArmRuns]) -> list[str]:
    """Labels each arm by its method and the settings that distinguish it from other arms of the method."""
    facts: list[dict[str, str]] = [
        {**arm.runs[0].settings, **arm.runs[0].facts, **arm.runs[0].hardware} for arm in arms
    ]
    names = [[arm.method] for arm in arms]
    last = Counter(_last(key) for key in varied_keys(facts))
    for key in sorted(varied_keys(facts), key=lambda key: _FIRST.index(key) if key in _FIRST else len(_FIRST)):
        texts = [" ".join(name) for name in names]
        for text in set(texts):
            same = [i for i, each in enumerate(texts) if each == text]
            values = {facts[i].get(key, "none") for i in same}
            if len(values) > 1:
                short = {value: _short(value) for value in values}
                short = short if len(set(short.values())) == len(values) else {value: value for value in values}
                for i in same:
                    value = short[facts[i].get(key, "none")]
                    if key in facts[i]:
                        names[i].append(f"{_last(key) if last[_last(key)] == 1 else key}={value}")
    return [" ".join(name) for name in names]


def _last(key: str) -> str:
    """Returns the last part of a dotted key."""
    return key.removesuffix(".name").rpartition(".")[2]


def repeats(arms: Sequence[ArmRuns]) -> int:
    """Counts the runs that repeat a seed of their arm."""
    return sum(len(arm.runs) - len(arm.seeds) for arm in arms)


def _short(value: str) -> str:
    """Rounds a fraction to four significant digits; other values are unchanged."""
    found = re.fullmatch(r"-?(\d+\.\d+)(e[+-]?\d+)?", value)
    digits = found[1].replace(".", "").lstrip("0") if found else ""
    return f"{float(value):.4g}" if len(digits) > 4 else value


def _same(one: Run, other: Run) -> bool:
    return one.method == other.method and one.settings == other.settings
