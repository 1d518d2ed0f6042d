"""What a study's directory holds: the plan, the runs, and a journal of them."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ast_experiments.core.errors import ConfigError, UserError
from ast_experiments.experiments.study.plan import Arm, Study

PLAN, JOURNAL, RUNS, TRIALS = "plan.json", "journal.jsonl", "runs", "trials"
TRIAL_SEED = 1_000_000


@dataclass(frozen=True, slots=True)
class Job:
    """One run of a study.

    Attributes:
        arm: Whose run it is.
        seed: Its seed.
        lr: The learning rate that it tries; None for a run of the comparison.
    """

    arm: Arm
    seed: int
    lr: float | None = None

    @property
    def place(self) -> str:
        """Its directory within that of the study."""
        if self.lr is None:
            return f"{RUNS}/{self.arm.folder}/seed_{self.seed}"
        return f"{TRIALS}/{self.arm.folder}/lr_{self.lr:g}"

    @property
    def title(self) -> str:
        """The arm, and the seed or the learning rate."""
        return f"{self.arm.label}, " + (f"seed {self.seed}" if self.lr is None else f"trial of lr {self.lr:g}")


@dataclass(slots=True)
class Plan:
    """A study and what was decided in it so far; a decision stands.

    Attributes:
        study: What is asked for.
        cost: What costs are counted in, once that is decided.
        why: Why in that.
        lrs: Learning rates that were chosen, by arm.
        baselines: Arms beside those that are asked for.
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
        """Those that are asked for, then the baselines."""
        return [*self.study.arms, *self.baselines]

    def write(self, folder: Path) -> None:
        """Write the plan whole or not at all."""
        path = folder / PLAN
        unfinished = path.with_suffix(".tmp")
        unfinished.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n", encoding="utf-8")
        os.replace(unfinished, path)


def read_plan(folder: Path) -> Plan | None:
    """The plan of a study's directory, or None if there is none.

    Raises:
        UserError: If it cannot be read.
    """
    try:
        plan = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        study = plan["study"]
        study |= {key: tuple(study[key]) for key in ("common", "seeds")}
        study["arms"] = tuple(_arm(arm) for arm in study["arms"])
        return Plan(**plan | {"study": Study(**study), "baselines": [_arm(arm) for arm in plan["baselines"]]})
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / PLAN} cannot be read ({error}); give another name=, or move it away") from error


def _arm(fields: dict[str, Any]) -> Arm:
    return Arm(fields["label"], fields["method"], tuple(fields["overrides"]), tuple(fields["serves"]))


def extended(plan: Plan, asked: Study) -> Plan:
    """The plan with the arms and seeds that are asked for added to its own.

    Raises:
        ConfigError: If anything else differs.
    """
    study = plan.study
    for what, own, other in (
        ("settings", " ".join(study.common) or "none", " ".join(asked.common) or "none"),
        ("lr_trials", study.lr_trials, asked.lr_trials),
        ("cost", plan.cost or asked.cost, asked.cost if asked.cost != "auto" else plan.cost or asked.cost),
    ):
        if own != other:
            raise ConfigError(f"name={study.name}: that study has {what} {own}, not {other}; give another name=")
    arms = tuple(dict.fromkeys([*study.arms, *asked.arms]))
    seeds = tuple(dict.fromkeys([*study.seeds, *asked.seeds]))
    cost = study.cost if plan.cost else asked.cost
    return dataclasses.replace(plan, study=dataclasses.replace(study, arms=arms, seeds=seeds, cost=cost))


def note(folder: Path, event: str, job: Job, **facts: Any) -> None:
    """Add a line to the journal."""
    where = {"run": job.place, "arm": job.arm.label, "seed": job.seed}
    line = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "event": event, **where, **facts}
    with open(folder / JOURNAL, "a", encoding="utf-8") as journal:
        journal.write(json.dumps(line) + "\n")


def read_journal(folder: Path) -> list[dict[str, Any]]:
    """The lines of the journal; one that was cut short is left out."""
    path = folder / JOURNAL
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        with suppress(ValueError):
            rows.append(json.loads(line))
    return rows


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the only process that works on the study.

    Raises:
        UserError: If another one does.
    """
    from filelock import FileLock, Timeout

    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise UserError(f"another ast-bench works on {folder}; wait for it, or give another name=") from None
