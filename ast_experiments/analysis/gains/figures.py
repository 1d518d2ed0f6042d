"""Metrics of a gain sweep at each pair of gains, and a recommendation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ast_experiments.analysis.gains.stability import LAWS, Law, margin
from ast_experiments.analysis.leaderboard import LeaderboardRow
from ast_experiments.core.text import percent
from ast_experiments.runs.control_quality import SMOOTHING_ROWS, moving_mean
from ast_experiments.runs.record import RunRecord

KP, KI = "controller.kp", "controller.ki"
UNSET = ("null", "None", "")
EQUAL_RMS, EQUAL_SHARE = 1.1, 0.01

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Trace:
    """Control signals of a run.

    Attributes:
        epochs: Epochs done, shape (n,).
        rate: Activation rate, smoothed over 5,000 offered rows or a quarter of an epoch, whichever is shorter, shape
            (n,). NaN before that.
        target: Target rate, shape (n,).
        kp: Proportional gain in use, shape (n,).
        ki: Integral gain in use, shape (n,).
        before: Epochs done and their rates and target rates, before control began; shape (epochs, 3).
    """

    epochs: Floats
    rate: Floats
    target: Floats
    kp: Floats
    ki: Floats
    before: Floats


def trace(record: RunRecord) -> Trace | None:
    """Reads the control signals of a run; None if it was not controlled or its rows lack `samples_offered`."""
    needed = ("control/threshold", "control/activation_rate", "control/target")
    if not all("samples_offered" in row for row in record.steps):
        return None
    offered = np.diff([0.0, *(row["samples_offered"] for row in record.steps)])
    held = [i for i, row in enumerate(record.steps) if all(key in row for key in needed)]
    if not held:
        return None
    rows = [record.steps[i] for i in held]

    def column(key: str) -> Floats:
        return np.array([row.get(key, np.nan) for row in rows], dtype=np.float64)

    epoch = min((row["epoch/rows_offered"] for row in record.epochs if "epoch/rows_offered" in row), default=np.inf)
    rate = moving_mean(column("control/activation_rate"), offered[held], min(SMOOTHING_ROWS, epoch / 4))
    keys = ("epoch", "epoch/activation_rate", "epoch/target")
    first = column("epoch")[0]
    before = [
        [row[key] for key in keys] for row in record.epochs if all(key in row for key in keys) and row["epoch"] <= first
    ]
    target, kp, ki = (column(f"control/{key}") for key in ("target", "kp", "ki"))
    return Trace(column("epoch"), rate, target, kp, ki, np.array(before, dtype=np.float64).reshape(-1, 3))


@dataclass(frozen=True, slots=True)
class Point:
    """One pair of gains. Figures are means over its runs; None if one of the runs lacks it.

    Attributes:
        kp: Value as typed.
        ki: Value as typed.
        rest: Other settings that vary, without seeds.
        gains: Numeric values; for derived gains their mean over the runs, NaN if never used.
        rows: Runs.
        figures: Means by metric.
    """

    kp: str
    ki: str
    rest: Mapping[str, str]
    gains: tuple[float, float]
    rows: tuple[LeaderboardRow, ...]
    figures: Mapping[str, float | None]

    @property
    def derived(self) -> bool:
        """Whether both gains are derived from the scores."""
        return self.kp in UNSET and self.ki in UNSET


METRIC_NAMES = ("settling_epoch", "overshoot", "rms_error", "final_accuracy", "savings")


def points(rows: Sequence[LeaderboardRow], traces: Mapping[str, Trace | None]) -> list[Point]:
    """Groups a sweep's runs by their gains; empty unless both gains vary.

    Args:
        rows: Rows of the leaderboard.
        traces: Traces by `LeaderboardRow.run`.
    """
    groups: dict[tuple[Any, ...], list[LeaderboardRow]] = {}
    for row in rows:
        if KP not in row.overrides or KI not in row.overrides:
            return []
        rest = {key: value for key, value in row.overrides.items() if key not in (KP, KI, "seed")}
        groups.setdefault((row.overrides[KP], row.overrides[KI], tuple(rest.items())), []).append(row)
    found = []
    for (kp, ki, rest), group in groups.items():
        used = [t for t in (traces.get(row.run) for row in group) if t is not None]
        gains = (_gain(kp, [t.kp for t in used]), _gain(ki, [t.ki for t in used]))
        figures = {name: _mean([getattr(row, name) for row in group]) for name in METRIC_NAMES}
        found.append(Point(kp, ki, dict(rest), gains, tuple(group), figures))
    return found


@dataclass(frozen=True, slots=True)
class Theory:
    """The boundary between stable and unstable gains.

    Attributes:
        law: Law of the controller.
        alpha: Weight of the newest window in its EMA.
        windows: Time constant targeted by derived gains; None for laws without derived gains.
        densities: Lowest and highest density of the scores at the threshold over the runs, per unit of the level;
            None if the runs do not reveal it.
    """

    law: Law
    alpha: float
    windows: float | None
    densities: tuple[float, float] | None

    def margin(self, point: Point) -> float:
        """Returns the log of the factor to the boundary, at the worst density; positive if stable."""
        found = []
        for density in self.densities or (None,):
            kp, ki = point.gains
            if point.kp in UNSET and density is not None and self.windows is not None:
                kp = (1 - self.alpha) / (self.alpha * density * self.windows)
            if point.ki in UNSET:
                ki = kp * self.alpha / (1 - self.alpha)
            found.append(float(margin(self.law, kp, ki, self.alpha, density)))
        return min(found)


def theory(
    point_list: Sequence[Point], traces: Mapping[str, Trace | None], configs: Mapping[str, Mapping[str, Any]]
) -> Theory | None:
    """Returns the theory of a gain sweep; None unless its runs share one law and one `alpha`.

    The density follows from the gains that `pi` derived from it, in the runs with a derived kp.

    Args:
        point_list: Points of the sweep.
        traces: Traces by run.
        configs: Controller settings by run.
    """
    chosen = [configs[row.run] for point in point_list for row in point.rows]
    kinds = {tuple(config.get(key) for key in ("name", "alpha", "settling_windows")) for config in chosen}
    if len(kinds) != 1:
        return None
    name, alpha, windows = kinds.pop()
    law = LAWS.get(str(name))
    if law is None or not isinstance(alpha, float):
        return None
    used = [traces.get(row.run) for point in point_list if point.kp in UNSET for row in point.rows]
    gains = [each.kp[each.kp > 0] for each in used if each is not None]
    found = (1 - alpha) / (alpha * windows * np.concatenate(gains)) if windows and gains else np.empty(0)
    return Theory(law, alpha, windows, (float(found.min()), float(found.max())) if len(found) else None)


@dataclass(frozen=True, slots=True)
class Advice:
    """A recommendation of gains.

    Attributes:
        point: The recommended gains.
        reasons: Reasons, as sentences.
    """

    point: Point
    reasons: tuple[str, ...]


def advise(point_list: Sequence[Point], target: float | None, law: Theory | None) -> Advice | None:
    """Recommends the gains that keep the rate closest to its target; None if no pair settled.

    Only pairs whose runs all finished and settled qualify. Pairs within 10 % of the lowest RMS error, or within 1 % of
    the target of it, count as equal. Among equals, derived gains come first, since they adapt to other data; then the
    earliest to settle; then the lowest overshoot.
    """
    held = [
        p for p in point_list
        if all(row.status == "finished" for row in p.rows)
        and p.figures["settling_epoch"] is not None and p.figures["rms_error"] is not None
    ]  # fmt: skip
    if not held:
        return None

    def figure(point: Point, name: str) -> float:
        return float(point.figures[name] or 0.0)

    least = min(figure(p, "rms_error") for p in held)
    limit = max(EQUAL_RMS * least, least + EQUAL_SHARE * (target or 0.0))
    equal = [p for p in held if figure(p, "rms_error") <= limit]
    best = min(equal, key=lambda p: (not p.derived, figure(p, "settling_epoch"), figure(p, "overshoot")))
    return Advice(best, _reasons(best, equal, held, law))


def _reasons(best: Point, equal: Sequence[Point], held: Sequence[Point], law: Theory | None) -> tuple[str, ...]:
    figures = best.figures
    overshoot, accuracy = figures["overshoot"], [p.figures["final_accuracy"] for p in held]
    rms = f"RMS error {figures['rms_error']:.4f}"
    found = [
        f"It has the lowest error of the {len(held)} pairs that settled: {rms}."
        if len(equal) == 1
        else f"{'All' if len(equal) == len(held) else len(equal)} of the {len(held)} pairs that settled keep the rate "
        f"equally close to its target; this one has {rms}.",
        f"It settles after {figures['settling_epoch']:.1f} epochs"
        + (f" and overshoots by {percent(overshoot, 0)}." if overshoot is not None else "."),
    ]
    if best.derived:
        found.append("Both gains are derived from the scores: the same setting works for other data and targets.")
    factor = None if law is None else law.margin(best)
    if factor == -np.inf and best.gains[0] != 0:
        found.append("In theory no kp is stable with this ki.")
    elif factor is not None and np.isfinite(factor):
        side = "inside" if factor > 0 else "outside"
        found.append(f"In theory it is {side} the stable region, a factor {np.exp(abs(factor)):.1f} from the boundary.")
    known = [value for value in accuracy if value is not None]
    if len(known) > 1 and f"{min(known):.2f}" != f"{max(known):.2f}":
        found.append(f"Accuracy ranges from {min(known):.2f} to {max(known):.2f} % over the pairs that settled.")
    return tuple(found)


def _gain(typed: str, used: Sequence[Floats]) -> float:
    try:
        return float(typed)
    except ValueError:
        values = np.concatenate([each[np.isfinite(each)] for each in used]) if used else np.empty(0)
        return float(values.mean()) if len(values) else float("nan")


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None
