"""How far a run has come, and what its finished epochs did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ast_experiments.training.budget import Spent


@dataclass(slots=True)
class Progress:
    """Counters of a run.

    Attributes:
        epoch: Finished epochs.
        batch: Loaded batches in the current epoch.
        step: Training steps in the run.
        offered: Rows offered so far in the current epoch.
        unlogged: Offered rows that no training step has followed yet.
        split_from: Steps done before batches were first split into parts; None if they never were.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    offered: int = 0
    unlogged: int = 0
    split_from: int | None = None

    def load_batch(self, offered: int) -> int:
        """Counts a loaded batch, with which `offered` rows of the epoch were offered in all; returns the new ones."""
        new = offered - self.offered
        self.offered = offered
        self.unlogged += new
        self.batch += 1
        return new

    def next_epoch(self) -> None:
        """Counts the current epoch as finished."""
        self.epoch, self.batch, self.offered, self.unlogged = self.epoch + 1, 0, 0, 0

    def row(self, epochs: int) -> dict[str, float]:
        """Returns entries of an epoch row, for a run of `epochs` planned epochs."""
        return {"step": self.step, "epoch": float(self.epoch), "progress": self.epoch / epochs}

    def state_dict(self) -> dict[str, Any]:
        """Returns the counters."""
        return asdict(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        for name, value in state.items():
            setattr(self, name, value)


@dataclass(slots=True)
class EpochHistory:
    """Figures of the finished epochs.

    Attributes:
        trained: Rows trained, by epoch.
        offered: Rows offered, by epoch.
        targets: Target rates, by epoch.
        accuracy: (finished epochs, accuracy in percent, loss in nats) of each validation.
        spent: Amount of the budget spent by the end of each epoch; empty without a budget.
        views: Accuracy in percent by six views of each image, at the end of a run that measures it.
    """

    trained: list[int] = field(default_factory=list)
    offered: list[int] = field(default_factory=list)
    targets: list[float] = field(default_factory=list)
    accuracy: list[tuple[int, float, float]] = field(default_factory=list)
    spent: list[Spent] = field(default_factory=list)
    views: float | None = None

    def validated(self, epochs: int, measured: Mapping[str, float]) -> None:
        """Adds a validation after `epochs` epochs."""
        self.accuracy.append((epochs, measured["val/accuracy"], measured["val/loss"]))
        self.views = measured.get("val/accuracy_views")

    def add(self, entries: Mapping[str, float], target: float) -> None:
        """Adds an epoch from the entries of `StepLog.end_epoch` and its target rate."""
        self.trained.append(int(entries["epoch/rows_trained"]))
        self.offered.append(int(entries["epoch/rows_offered"]))
        self.targets.append(target)

    def result(self, *, targets: bool) -> dict[str, Any]:
        """Returns entries of result.json; `targets` adds the mean target of the last quarter."""
        result: dict[str, Any] = {"rows_by_epoch": list(self.trained)}
        quarter = max(1, round(len(self.offered) / 4))
        if sum(self.offered[-quarter:]):
            result["last_quarter_activation_rate"] = sum(self.trained[-quarter:]) / sum(self.offered[-quarter:])
            if targets:
                result["last_quarter_target"] = sum(self.targets[-quarter:]) / quarter
        if self.accuracy:
            best = max(self.accuracy, key=lambda entry: entry[1])
            result |= {
                "final_accuracy": self.accuracy[-1][1],
                "final_val_loss": self.accuracy[-1][2],
                "best_accuracy": best[1],
                "best_epoch": best[0],
            }
        if self.views is not None:
            result["final_accuracy_views"] = self.views
        return result

    def state_dict(self) -> dict[str, Any]:
        """Returns the figures as lists of numbers."""
        return asdict(self) | {"spent": [list(entry) for entry in self.spent]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.trained, self.offered, self.targets = (list(state[key]) for key in ("trained", "offered", "targets"))
        self.accuracy = [tuple(entry) for entry in state["accuracy"]]
        self.spent = [Spent(*entry) for entry in state["spent"]]
        self.views = state["views"]
