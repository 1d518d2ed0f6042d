"""Arms: runs that differ in nothing but the seed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ast_experiments.analysis.leaderboard import varied_keys
from ast_experiments.comparison.runs import Run
from ast_experiments.comparison.stats import Floats

UNIFORM = ("dense", "rs2", "random")
"""Methods that choose no sample for what it is."""

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
class Arm:
    """Runs that differ in nothing but the seed.

    Attributes:
        number: Its number in tables and drawings.
        label: The method, and the settings in which it differs from others of the method.
        runs: Its finished runs.
        failed: How many more failed.
    """

    number: int
    label: str
    runs: tuple[Run, ...]
    failed: int = 0

    @property
    def method(self) -> str:
        """The method's name."""
        return self.runs[0].method

    @property
    def extra(self) -> bool:
        """Whether all its runs were made only to be compared with: a tag says so."""
        return all(any(tag.startswith("baseline=") for tag in run.tags) for run in self.runs)

    @property
    def seeds(self) -> list[int]:
        """Its seeds, in order."""
        return sorted({run.seed for run in self.runs})

    def values(self, key: str, seeds: Sequence[int] | None = None) -> Floats:
        """A figure by seed, shape (seeds,): the mean of runs that repeat a seed, NaN where there is none."""
        found: dict[int, list[float]] = {}
        for run in self.runs:
            if key in run.figures:
                found.setdefault(run.seed, []).append(run.figures[key])
        wanted = self.seeds if seeds is None else seeds
        return np.array([np.mean(found[seed]) if seed in found else np.nan for seed in wanted], dtype=np.float64)

    def mean(self, key: str) -> float:
        """Mean over seeds; NaN if no run tells."""
        values = self.values(key)
        return float(np.nanmean(values)) if np.isfinite(values).any() else np.nan


def group(runs: Sequence[Run], failed: Sequence[Run] = (), *, measured: bool) -> list[Arm]:
    """Groups runs into arms.

    Args:
        runs: Of one data set.
        failed: Charged to the arm with the same settings.
        measured: Whether runs on other hardware are another arm, as they are where seconds or joules count.

    Returns:
        Baselines first, then by method; numbered from 1.
    """
    grouped: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        hardware = tuple(sorted(run.hardware.items())) if measured else ()
        key = (run.method, tuple(sorted(run.settings.items())), tuple(sorted(run.facts.items())), hardware)
        grouped.setdefault(key, []).append(run)
    arms = [Arm(0, "", tuple(members)) for members in grouped.values()]
    order = {method: i for i, method in enumerate(UNIFORM)}
    arms.sort(key=lambda arm: (order.get(arm.method, len(order)), arm.method, arm.extra, -arm.mean("samples")))
    return [
        replace(arm, number=number, label=label, failed=sum(_same(run, arm.runs[0]) for run in failed))
        for number, (arm, label) in enumerate(zip(arms, labels(arms), strict=True), start=1)
    ]


def labels(arms: Sequence[Arm]) -> list[str]:
    """The method of each arm and, where that is not enough to tell it from another, what it has and others not."""
    told: list[dict[str, str]] = [{**arm.runs[0].settings, **arm.runs[0].facts, **arm.runs[0].hardware} for arm in arms]
    names = [[arm.method] for arm in arms]
    last = Counter(_last(key) for key in varied_keys(told))
    for key in sorted(varied_keys(told), key=lambda key: _FIRST.index(key) if key in _FIRST else len(_FIRST)):
        texts = [" ".join(name) for name in names]
        for text in set(texts):
            alike = [i for i, each in enumerate(texts) if each == text]
            values = {told[i].get(key, "none") for i in alike}
            if len(values) > 1:
                short = {value: _short(value) for value in values}
                short = short if len(set(short.values())) == len(values) else {value: value for value in values}
                for i in alike:
                    value = short[told[i].get(key, "none")]
                    if key in told[i]:
                        names[i].append(f"{_last(key) if last[_last(key)] == 1 else key}={value}")
    return [" ".join(name) for name in names]


def _last(key: str) -> str:
    """The last part of a dotted key, as it is typed for a choice."""
    return key.removesuffix(".name").rpartition(".")[2]


def repeats(arms: Sequence[Arm]) -> int:
    """How many runs repeat the seed of another run of their arm."""
    return sum(len(arm.runs) - len(arm.seeds) for arm in arms)


def _short(value: str) -> str:
    """A fraction to four significant digits; other values as they are."""
    found = re.fullmatch(r"-?(\d+\.\d+)(e[+-]?\d+)?", value)
    digits = found[1].replace(".", "").lstrip("0") if found else ""
    return f"{float(value):.4g}" if len(digits) > 4 else value


def _same(one: Run, other: Run) -> bool:
    return one.method == other.method and one.settings == other.settings
