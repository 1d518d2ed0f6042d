"""The measured cases on which a prediction rests, read from the files that the project keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

from ast_experiments.comparison.stats import FEWEST, Point, interval, saving_on_line
from ast_experiments.core.files import read_json

PACKAGE = Path(__file__).resolve().parents[1]
FOLDER = PACKAGE / "measurements" if (PACKAGE / "measurements").is_dir() else PACKAGE.parent / "docs" / "measurements"
"""Directory of the measurements: inside an installed package, in docs/ in a checkout."""

REGIMES, STUDY = "regimes.json", "speedrun_half_width_study.json"

ALONE = 1.0
"""Points that a difference of one or two seeds must have to count: two runs that differ by the seed alone differ by
half a point or so."""

NAMES = {
    "clean": "half of CIFAR-10 as it is",
    "all_rows": "all of CIFAR-10 as it is",
    "noise_10": "CIFAR-10 with 10 % wrong labels",
    "noise_20": "CIFAR-10 with 20 % wrong labels",
    "noise_40": "CIFAR-10 with 40 % wrong labels",
    "duplicates_80": "CIFAR-10 where 80 % of the rows repeat others",
    "tail_4": "CIFAR-10 with the rarest class 1:4",
    "tail_10": "CIFAR-10 with the rarest class 1:10",
    "tail_50": "CIFAR-10 with the rarest class 1:50",
    "corruption_20": "CIFAR-10 with 20 % damaged images",
    "longer": "half of CIFAR-10 as it is, for longer",
    "speedrun": "CIFAR-10, the strong baseline",
    "speedrun_views": "CIFAR-10, the strong baseline, six test-time views",
}
"""What was measured, by the name of the case."""

Seeds = Mapping[str, Point]
"""Accuracy in percent and PFLOP of training, by seed."""


@dataclass(frozen=True, slots=True)
class Case:
    """Stale AST against the best of its baselines at equal cost.

    Attributes:
        name: A key of `NAMES`.
        points: Mean difference of the accuracies.
        low: Lower end of its 95 % interval; None with fewer than three seeds.
        high: Upper end.
        seeds: Number of seeds.
        epochs: Dense epochs that cost as much.
        saved: Share of the FLOPs that is saved at equal accuracy, by a straight line between two dense runs; None if
            the accuracy is outside of theirs.
    """

    name: str
    points: float
    low: float | None
    high: float | None
    seeds: int
    epochs: int
    saved: float | None

    @property
    def pays(self) -> bool:
        """Whether choosing clearly paid: the interval is above 0, or the difference of few seeds is a point or more."""
        return self.points >= ALONE if self.low is None else self.low > 0

    def __str__(self) -> str:
        side = "above" if self.points > 0 else "below"
        found = f"{abs(self.points):.1f} points {side}"
        if self.low is not None:
            found = f"{self.points:+.2f} points [{self.low:+.2f}, {self.high:+.2f}] against"
        seeds = "1 seed" if self.seeds == 1 else f"{self.seeds} seeds"
        return f"{NAMES[self.name]}: {found} the best baseline at the cost of {self.epochs} dense epochs ({seeds})"


def measured_cases(folder: Path = FOLDER) -> dict[str, Case]:
    """Reads the measured cases, by name; those whose files are missing are left out.

    Raises:
        DataError: If a file is damaged.
    """
    cases = [*_regimes(read_json(folder / REGIMES)), *_speedrun(read_json(folder / STUDY))]
    return {case.name: case for case in cases}


def _regimes(kept: Any) -> list[Case]:
    cases = []
    for name, regime in (kept or {}).get("regimes", {}).items():
        arms = regime["arms"]
        ours = next((arm for arm in arms if arm.startswith("ast") and "noise_robust" not in arm), None)
        if name not in NAMES or ours is None:
            continue
        label = ours.replace("-", " ")
        runs = {arm: _seeds(each["runs"]) for arm, each in arms.items()}
        kinds = {
            tag.partition(":")[0]: arm
            for arm, each in arms.items()
            for tag in each["baseline_of"]
            if tag.partition(":")[2] == label
        }
        shorter = kinds.get("dense_shorter", "")
        longer = next((arm for arm, each in arms.items() if each["method"] == "dense" and not each["baseline_of"]), "")
        epochs = int(shorter.rpartition("=")[2] or 0)
        case = _case(name, runs[ours], {arm: runs[arm] for arm in kinds.values()}, epochs)
        cases += [] if case is None else [_with_saving(case, runs[ours], runs.get(shorter, {}), runs.get(longer, {}))]
    return cases


def _seeds(runs: Mapping[str, Any]) -> dict[str, Point]:
    return {seed: (run["accuracy"], run["pflop"]) for seed, run in runs.items()}


def _speedrun(kept: Any) -> list[Case]:
    cases = []
    for name, key in (("speedrun", "accuracy"), ("speedrun_views", "accuracy_views")):
        arms: dict[str, dict[str, Point]] = {}
        for run in (kept or {}).get("runs", ()):
            if run["judged_on"] == "test set":
                arms.setdefault(run["arm"], {})[str(run["seed"])] = (run[key], run["pflop_train"])
        ours, longer, shorter = (arms.get(arm, {}) for arm in ("ast", "dense", "dense epochs=6"))
        baselines = {arm: runs for arm, runs in arms.items() if arm.startswith(("dense ", "rs2"))}
        case = _case(name, ours, baselines, 6)
        cases += [] if case is None else [_with_saving(case, ours, shorter, longer)]
    return cases


def _case(name: str, ours: Seeds, baselines: Mapping[str, Seeds], epochs: int) -> Case | None:
    """Returns the case against the baseline that is best on average; None without a common seed."""
    differences = [
        [ours[seed][0] - runs[seed][0] for seed in sorted(ours.keys() & runs.keys())] for runs in baselines.values()
    ]
    differences = [each for each in differences if each]
    if not differences:
        return None
    worst = min(differences, key=mean)
    known = interval(worst) if len(worst) >= FEWEST else None
    low, high = (None, None) if known is None else (known.low, known.high)
    return Case(name, mean(worst), low, high, len(worst), epochs, None)


def _with_saving(case: Case, ours: Seeds, shorter: Seeds, longer: Seeds) -> Case:
    """Adds the saving at equal accuracy, the mean over the seeds that all three arms have."""
    seeds = sorted(ours.keys() & shorter.keys() & longer.keys())
    reached, low, high = (mean(arm[seed][0] for seed in seeds) if seeds else 0.0 for arm in (ours, shorter, longer))
    if not low < reached <= high:
        return case
    return replace(case, saved=mean(saving_on_line(ours[seed], shorter[seed], longer[seed]) for seed in seeds))
