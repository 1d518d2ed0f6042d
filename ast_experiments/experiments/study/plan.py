"""What a study runs: the request, the decisions made on the way, and single runs. `plan.json` holds the first two."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ast_experiments.core.errors import ConfigError
from ast_experiments.core.files import write_json
from ast_experiments.experiments.directory import checked, read_request
from ast_experiments.experiments.study.arms import Arm, as_typed

PLAN, RUNS, TRIALS = "plan.json", "runs", "trials"
TRIAL_SEED = 1_000_000  # of learning-rate trials; no comparison uses it
COSTS = ("auto", "joules", "seconds", "flops", "samples")


@dataclass(frozen=True, slots=True, eq=False)
class StudyRun:
    """One run of a study. Two are equal if they have one directory: a baseline may come to serve more arms.

    Attributes:
        arm: Its arm.
        seed: Its seed.
        lr: The learning rate it tries; None for a run of the comparison.
    """

    arm: Arm
    seed: int
    lr: float | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StudyRun) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    @property
    def path(self) -> str:
        """Run directory, relative to that of the study."""
        if self.lr is None:
            return f"{RUNS}/{self.arm.folder}/seed_{self.seed}"
        return f"{TRIALS}/{self.arm.folder}/lr_{self.lr:g}"

    @property
    def title(self) -> str:
        """The arm, and the seed or the learning rate."""
        return f"{self.arm.label}, " + (f"seed {self.seed}" if self.lr is None else f"trial of lr {self.lr:g}")


@dataclass(frozen=True, slots=True)
class Study:
    """What the user asked for.

    Attributes:
        name: Of the study.
        common: Overrides that all arms share.
        arms: The dense reference, then the methods.
        seeds: In order.
        lr_trials: Number of learning rates to try for each arm; 0 for none.
        cost: Unit in which baselines must cost the same as their method, one of `COSTS`.
        baselines: Names of methods and labels of arms that get baselines of their own; None for all methods.
    """

    name: str
    common: tuple[str, ...]
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    lr_trials: int = 0
    cost: str = "auto"
    baselines: tuple[str, ...] | None = None

    @property
    def methods(self) -> list[Arm]:
        """All arms but dense training, of whatever length."""
        return [arm for arm in self.arms if arm.method != "dense"]

    @property
    def with_baselines(self) -> list[Arm]:
        """The methods that get baselines of their own."""
        named = self.baselines
        return [arm for arm in self.methods if named is None or arm.method in named or arm.label in named]


@dataclass(slots=True)
class StudyPlan:
    """A study and the decisions made so far. A decision is never revised.

    Attributes:
        study: The request.
        cost: Unit of cost, once decided.
        why: Reason for that unit.
        lrs: Chosen learning rates, by arm.
        baselines: Arms added to those of the request.
        matched: By method, its cost and the labels of its baselines.
    """

    study: Study
    cost: str | None = None
    why: str = ""
    lrs: dict[str, float] = field(default_factory=dict)
    baselines: list[Arm] = field(default_factory=list)
    matched: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def arms(self) -> list[Arm]:
        """Arms of the request, then the baselines."""
        return [*self.study.arms, *self.baselines]

    def write(self, folder: Path) -> None:
        """Writes plan.json, atomically."""
        write_json(folder / PLAN, dataclasses.asdict(self))


def read_plan(folder: Path) -> StudyPlan | None:
    """Reads the plan of a study's directory. Returns None if there is none.

    Raises:
        UserError: If the file cannot be read.
    """
    return read_request(folder / PLAN, _parse_plan)


def _parse_plan(plan: dict[str, Any]) -> StudyPlan:
    study = plan["study"]
    lists = ("common", "seeds", "baselines")
    study |= {key: tuple(study[key]) for key in lists if study.get(key) is not None}
    study["arms"] = tuple(_parse_arm(arm) for arm in study["arms"])
    made = StudyPlan(**plan | {"study": Study(**study), "baselines": [_parse_arm(arm) for arm in plan["baselines"]]})
    return checked(StudyPlan, made)


def _parse_arm(fields: dict[str, Any]) -> Arm:
    baseline_for = fields["baseline_for"] if "baseline_for" in fields else fields["serves"]  # plans of version 0.1
    return Arm(fields["label"], fields["method"], tuple(fields["overrides"]), tuple(baseline_for))


def extend_plan(plan: StudyPlan, request: Study) -> StudyPlan:
    """Adds the arms and seeds of another request to a plan, and baselines for more of its methods.

    Raises:
        ConfigError: If anything else differs.
    """
    study = plan.study
    for what, own, other in (
        ("settings", " ".join(study.common) or "none", " ".join(request.common) or "none"),
        ("lr_trials", study.lr_trials, request.lr_trials),
        ("cost", plan.cost or request.cost, request.cost if request.cost != "auto" else plan.cost or request.cost),
    ):
        if own != other:
            raise ConfigError(f"name={study.name}: that study has {what} {own}, not {other}; type another name=")
    arms = tuple(dict.fromkeys([*study.arms, *request.arms]))
    seeds = tuple(dict.fromkeys([*study.seeds, *request.seeds]))
    cost = study.cost if plan.cost else request.cost
    extended = dataclasses.replace(study, arms=arms, seeds=seeds, cost=cost, baselines=request.baselines)
    own, other = study.with_baselines, extended.with_baselines
    if not set(own) <= set(other):
        both = ",".join(as_typed(arm.label) for arm in dict.fromkeys([*own, *other]))
        raise ConfigError(
            f"name={study.name}: that study has baselines for {', '.join(arm.label for arm in own)}, which stay; "
            f"type baselines=[{both}], or another name="
        )
    return dataclasses.replace(plan, study=extended)
