"""The step log: what every training step did, without waiting for the device at every step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ast_experiments.core import distributed
from ast_experiments.core.batch import Outputs
from ast_experiments.selection.numeric import Number

OWN = ("trained", "loss_sum")  # what each rank knows of its own rows only
FIGURES = frozenset({"step", "epoch", "progress", "last", "time", "offered", "picked", *OWN})
"""Keys of a record that the log interprets. Every other key is a signal, which passes through."""


class StepLog:
    """Keeps records of steps whose values may still be on the device, and folds them into log rows.

    A row covers `every` steps, whenever it is flushed: what the log holds does not depend on when it was written.
    Signals of any name pass through. A row holds the last value that its steps have of a signal, or the mean over its
    steps for the names in `averaged`; the epoch's mean of `any/name` becomes `epoch/name_share`.

    Args:
        every: Steps that a row covers; an epoch's last row may cover fewer.
        averaged: Names of signals to average: shares of rows, or flags.

    Attributes:
        trained: Rows trained so far in the run, up to the last flush.
        offered: Rows offered so far in the run, up to the last flush.
        epoch: Sums over the current epoch, up to the last flush.
    """

    def __init__(self, every: int, averaged: frozenset[str] = frozenset()) -> None:
        self._every, self._averaged = every, averaged
        self._records: list[dict[str, Number]] = []
        self._open: list[dict[str, float]] = []
        self._since: float | None = None
        self.trained = self.offered = 0
        self.epoch: dict[str, float] = {}
        self._signals: dict[str, list[float]] = {}  # of averaged ones: sum of value x offered rows, and of these rows

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: dict[str, Number]) -> None:
        """Keeps the record of a step.

        Args:
            record: `step`, `epoch`, `progress`, `last` (1 closes the row), `time` (s), `loss_sum` (over the trained
                rows), `trained` and `offered` rows of this step, and signals. `picked` counts the offered rows that
                were picked, if some of the trained rows were picked earlier. Values may be 0-d tensors.
        """
        self._records.append(record)

    def flush(self, close: bool = False) -> list[dict[str, float]]:
        """Returns the complete rows, or with `close` all rows. Reads the device once for any number of records."""
        rows = []
        for record in _summed(_on_host(self._records)):
            self._sum(record)
            self._open.append(record)
            if record["last"] or record["step"] % self._every == 0:
                rows.append(self._row(self._open))
                self._open = []
        if close and self._open:
            rows.append(self._row(self._open))
            self._open = []
        self._records = []
        return rows

    def _sum(self, record: Mapping[str, float]) -> None:
        self.trained += int(record["trained"])
        self.offered += int(record["offered"])
        sums = self.epoch
        for key in ("trained", "offered", "loss_sum"):
            sums[key] = sums.get(key, 0.0) + record[key]
        for key in self._averaged & record.keys():
            entry = self._signals.setdefault(key, [0.0, 0.0])
            entry[0] += record[key] * record["offered"]
            entry[1] += record["offered"]

    def _row(self, records: list[dict[str, float]]) -> dict[str, float]:
        last = records[-1]
        trained = sum(r["trained"] for r in records)
        offered = sum(r["offered"] for r in records)
        row: dict[str, float] = {
            "step": int(last["step"]),
            "epoch": last["epoch"],
            "progress": last["progress"],
            "samples_seen": self.trained,
            "samples_offered": self.offered,
        }
        if trained:
            row["train/loss"] = sum(r["loss_sum"] for r in records) / trained
        if offered:
            row["control/activation_rate"] = sum(r.get("picked", r["trained"]) for r in records) / offered
        row |= self._folded(records)
        if self._since is not None and last["time"] > self._since:
            row["train/throughput"] = trained / (last["time"] - self._since)
        self._since = last["time"]
        return row

    def _folded(self, records: list[dict[str, float]]) -> dict[str, float]:
        """The signals of a row."""
        folded: dict[str, float] = {}
        for record in records:
            folded.update((key, value) for key, value in record.items() if key not in FIGURES)
        for key in self._averaged & folded.keys():
            values = [record[key] for record in records if key in record]
            folded[key] = sum(values) / len(values)
        return folded

    def offer(self, rows: int) -> None:
        """Counts rows that were offered after the epoch's last step; call after a flush."""
        self.offered += rows
        self.epoch["offered"] = self.epoch.get("offered", 0.0) + rows

    def end_epoch(self) -> dict[str, float]:
        """Returns the epoch's log entries and starts the sums of the next epoch; call after a flush."""
        sums, self.epoch = self.epoch, {}
        signals, self._signals = self._signals, {}
        self._since = None
        trained, offered = sums.get("trained", 0.0), sums.get("offered", 0.0)
        entries: dict[str, float] = {"epoch/rows_trained": int(trained), "epoch/rows_offered": int(offered)}
        if offered:
            entries["epoch/activation_rate"] = trained / offered
        if trained:
            entries["epoch/train_loss"] = sums["loss_sum"] / trained
        for key, (weighted, rows) in signals.items():
            if rows:
                entries[f"epoch/{key.rpartition('/')[2].removesuffix('_share')}_share"] = weighted / rows
        return entries

    def state_dict(self) -> dict[str, Any]:
        """Returns the sums and the records of incomplete rows; call after a flush."""
        return {
            "trained": self.trained,
            "offered": self.offered,
            "epoch": dict(self.epoch),
            "open": [dict(r) for r in self._open],
            "signals": {key: list(entry) for key, entry in self._signals.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.trained, self.offered, self.epoch = state["trained"], state["offered"], dict(state["epoch"])
        self._open = [dict(r) for r in state["open"]]
        self._signals = {key: list(entry) for key, entry in state["signals"].items()}


def _on_host(records: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Returns all values as floats; one transfer reads those that are on the device."""
    tensors = [v for record in records for v in record.values() if _away(v)]
    if not tensors:
        return [{k: float(v) for k, v in record.items()} for record in records]
    wide = torch.float32 if tensors[0].device.type == "mps" else torch.float64
    values = iter(torch.stack([t.detach().to(wide) for t in tensors]).tolist())
    return [{k: next(values) if _away(v) else float(v) for k, v in r.items()} for r in records]


def _away(value: Any) -> bool:
    return isinstance(value, Tensor) and value.device.type != "cpu"


def _summed(records: list[dict[str, float]]) -> list[dict[str, float]]:
    """Sums `OWN` over the ranks, which all hold the same number of records."""
    if distributed.size() == 1 or not records:
        return records
    own = torch.tensor([[record[key] for key in OWN] for record in records], dtype=torch.float64)
    sums = distributed.all_reduce_sum(own).tolist()
    return [record | dict(zip(OWN, row, strict=True)) for record, row in zip(records, sums, strict=True)]


def trained_rows(outputs: Outputs, weights: Tensor | None) -> dict[str, Number]:
    """Returns entries of a record: rows trained and the sum of their losses; rows of weight 0 do not count."""
    if weights is None:
        return {"trained": len(outputs.losses), "loss_sum": outputs.losses.sum()}
    active = weights > 0
    return {"trained": active.sum(), "loss_sum": (outputs.losses * active).sum()}


def check_loss(rows: list[dict[str, float]]) -> int | None:
    """Returns the first step whose loss is NaN or infinite, or None."""
    return next((int(r["step"]) for r in rows if not math.isfinite(r.get("train/loss", 0.0))), None)
