"""Arms: sets of runs that differ only in the seed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ast_experiments.analysis.leaderboard import varied_keys
from ast_experiments.comparison.runs import UNIFORM, Run
from ast_experiments.comparison.stats import Floats

SAME_RATE = 0.05
"""Relative difference up to which activation rates count as equal."""

SAME_SCHEDULE = "baseline=rs2_same_schedule:"
"""Beginning of the tag of a run of rs2 with the rates of a method; the method's label follows."""

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

    @property
    def constant_rate(self) -> bool:
        """Whether every epoch trains about as many rows."""
        rates = self.rates_by_epoch
        if rates is None:  # a run of an early version
            return self.runs[0].settings.get("method.rate_schedule", "constant") == "constant"
        return bool(np.abs(rates / rates.mean() - 1).max() <= SAME_RATE)

    @property
    def rates_by_epoch(self) -> Floats | None:
        """Share of the samples that each epoch trains, mean over runs, shape (epochs,); None if it is not recorded."""
        found = [_rates(run.record.result) for run in self.runs]
        same = [rates for rates in found if rates is not None and found[0] is not None and len(rates) == len(found[0])]
        return np.mean(same, axis=0) if len(same) == len(found) else None

    def trains_like(self, other: ArmRuns) -> bool:
        """Returns whether both arms train about as many rows, and as many in each epoch."""
        one, two = self.rates_by_epoch, other.rates_by_epoch
        if one is None or two is None:
            close = abs(other.mean("rate") - self.mean("rate")) <= SAME_RATE * self.mean("rate")
            return bool(close) and self.constant_rate and other.constant_rate
        if self.constant_rate and other.constant_rate:
            return bool(abs(two.mean() / one.mean() - 1) <= SAME_RATE)
        return len(one) == len(two) and bool((np.abs(two - one) <= SAME_RATE * one.mean()).all())

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
    names = [[arm.method, *_follows(arm)] for arm in arms]
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


def _follows(arm: ArmRuns) -> list[str]:
    """Returns "as ARM" for a uniform draw that was run only to follow the rates of another arm of a study."""
    tags = {tag for run in arm.runs for tag in run.tags}
    followed = sorted(tag.removeprefix(SAME_SCHEDULE) for tag in tags if tag.startswith(SAME_SCHEDULE))
    return [f"as {' and '.join(followed)}"] if followed else []


def _rates(result: Mapping[str, Any]) -> Floats | None:
    """Returns the share of the samples that each epoch of a run trains; None if it is not recorded."""
    rows, samples = result.get("rows_by_epoch"), result.get("train_samples")
    if not isinstance(rows, list) or not rows or not isinstance(samples, int) or samples < 1:
        return None
    if not all(isinstance(each, int) for each in rows) or sum(rows) <= 0:
        return None
    return np.array(rows, dtype=np.float64) / samples


def _last(key: str) -> str:
    """Returns the last part of a dotted key."""
    return key.removesuffix(".name").rpartition(".")[2]


def repeats(arms: Sequence[ArmRuns]) -> int:
    """Counts the runs that repeat a seed of their arm."""
    return sum(len(arm.runs) - len(arm.seeds) for arm in arms)


def _short(value: str) -> str:
    """Rounds a fraction to four significant digits and leaves out the middle of a list; other values are unchanged."""
    listed = re.fullmatch(r"\[([^,]+),.*, *([^,]+)\]", value)
    if listed and len(value) > 20:
        return f"[{listed[1]}..{listed[2]}]"
    found = re.fullmatch(r"-?(\d+\.\d+)(e[+-]?\d+)?", value)
    digits = found[1].replace(".", "").lstrip("0") if found else ""
    return f"{float(value):.4g}" if len(digits) > 4 else value


def _same(one: Run, other: Run) -> bool:
    return one.method == other.method and one.settings == other.settings
