"""A run directory of your own loop, which `ast-compare` puts next to others."""

from __future__ import annotations

import json
import os
import platform
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from ast_experiments.api.meter import Meter
from ast_experiments.api.selection import Selection
from ast_experiments.core import distributed
from ast_experiments.core.errors import UserError
from ast_experiments.core.files import write_atomic, write_json
from ast_experiments.core.owner import owned
from ast_experiments.tracking.jsonl import JsonlTracker


def record(
    folder: str | os.PathLike[str],
    *,
    dataset: str,
    model: str,
    seed: int,
    selection: Selection | str = "dense",
    meter: Meter | None = None,
    settings: Mapping[str, Any] | None = None,
    flops: tuple[float, float] | None = None,
    data_fingerprint: str | None = None,
    tags: Sequence[str] = (),
) -> Record:
    """Opens a run directory. Use it in a `with` statement: it writes `metrics.jsonl`, `result.json` and `report.html`.

    Args:
        folder: The run directory; must not hold a finished run.
        dataset: Name of the data; runs are compared within it.
        model: Name of the network.
        seed: Seed of the run; runs that differ in it alone are one arm.
        selection: The selection, or the name of a method that needs none, such as `dense`.
        meter: Joules and seconds by phase; without one, seconds are those of the `with` statement.
        settings: Everything else that determines the numbers, e.g. {"lr": 0.1, "epochs": 30}.
        flops: Of a forward and of a backward pass of one sample, to compare FLOPs.
        data_fingerprint: Identifies the data; runs on different data are not compared.
        tags: Words to find the run by.

    Raises:
        UserError: If the directory holds a run, or another process writes into it.

    Example:
        >>> with record("outputs/mine/seed_0", dataset="digits", model="mlp", seed=0, selection=selection) as run:
        ...     for epoch in selection.epochs():
        ...         ...
        ...         run.epoch(accuracy=98.2)
    """
    return Record(
        Path(folder),
        facts={"dataset": dataset, "model": model, "seed": seed, "tags": list(tags)},
        selection=selection,
        meter=meter,
        settings=dict(settings or {}),
        flops=flops,
        data_fingerprint=data_fingerprint,
    )


class Record:
    """A run directory that is being written. Make one with `record`."""

    def __init__(
        self,
        folder: Path,
        *,
        facts: dict[str, Any],
        selection: Selection | str,
        meter: Meter | None,
        settings: dict[str, Any],
        flops: tuple[float, float] | None,
        data_fingerprint: str | None,
    ) -> None:
        self.folder, self._selection, self._meter, self._flops = folder, selection, meter, flops
        self._begin = time.perf_counter()
        self._accuracies: list[tuple[int, float]] = []
        self._epochs = self._rows = 0
        with ExitStack() as stack:
            stack.enter_context(owned(folder))
            if (folder / "result.json").exists():
                raise UserError(f"{folder} holds a run already; name another folder, or delete it")
            self._start(facts, settings, data_fingerprint)
            self._owned = stack.pop_all()

    def _start(self, facts: dict[str, Any], settings: dict[str, Any], data_fingerprint: str | None) -> None:
        """Writes the first files."""
        folder, selection = self.folder, self._selection
        chosen = isinstance(selection, Selection)
        method = {"name": selection.name, **selection.settings} if chosen else {"name": selection}
        named = {"dataset": {"name": facts["dataset"]}, "model": {"name": facts["model"]}, "method": method}
        config = {**named, "recipe": {"name": "own", **settings}, "seed": facts["seed"], "tags": facts["tags"]}
        write_atomic(folder / "config.yaml", json.dumps(config, indent=2, default=str) + "\n")  # JSON is YAML
        self._result: dict[str, Any] = {
            "status": "running",
            "run_id": secrets.token_hex(4),
            "folder": str(folder),
            **facts,
            "method": method["name"],
            "scoring": selection.method.scoring if chosen else None,
            "controller": selection.controller if chosen else None,
            "recipe": "own",
            "target": selection.target if chosen else None,
            "started": _now(),
            "versions": _versions(),
            "ranks": distributed.size(),
            "hardware": _hardware(selection.device if chosen else torch.device("cpu")),
            "data_fingerprint": data_fingerprint,
        }
        write_json(folder / "result.json", self._result)
        self._tracker = JsonlTracker(folder / "metrics.jsonl")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is None:
            self.finish()
        else:
            stopped = issubclass(kind, KeyboardInterrupt | SystemExit)
            self.finish("interrupted" if stopped else "failed", error=f"{kind.__name__}: {error}")

    def step(self, figures: Mapping[str, float] | None = None, *, rows: int = 0) -> None:
        """Writes a row of kind `step`: the selection's metrics and your own figures, e.g. {"train/loss": 0.3}.

        Args:
            figures: Your own.
            rows: Rows trained since the last one, for a loop without a selection.
        """
        self._rows += rows
        self._tracker.log({"kind": "step", **self._metrics(), **(figures or {})})

    def epoch(
        self, accuracy: float | None = None, figures: Mapping[str, float] | None = None, *, rows: int = 0
    ) -> None:
        """Writes a row of kind `epoch`. Call it once an epoch, inside the loop.

        Args:
            accuracy: On validation data, in percent, or any figure that is better when larger.
            figures: Your own.
            rows: Rows trained since the last row, for a loop without a selection.
        """
        self._rows += rows
        self._epochs += 1
        if accuracy is not None:
            self._accuracies.append((self._epochs, float(accuracy)))
        shown = {} if accuracy is None else {"val/accuracy": float(accuracy)}
        self._tracker.log({"kind": "epoch", **self._metrics(), **shown, **(figures or {}), "epoch": self._epochs})
        self._tracker.flush()

    def finish(self, status: str = "finished", error: str | None = None) -> None:
        """Writes result.json and report.html; the `with` statement does this."""
        from ast_experiments.analysis.report import write_report

        with self._owned:
            self._tracker.finish({})
            self._result |= {"status": status, "finished": _now(), "epochs": self._epochs, **self._reached()}
            if error is not None:
                self._result["error"] = error
            write_json(self.folder / "result.json", {k: v for k, v in self._result.items() if v is not None})
            write_report(self.folder)

    def _metrics(self) -> dict[str, float]:
        if isinstance(self._selection, Selection):
            return self._selection.metrics()
        return {"samples_seen": self._rows, "rows/trained": self._rows, "rows/offered": self._rows}

    def _reached(self) -> dict[str, Any]:
        """What the run reached and cost so far, under the keys of result.json."""
        metrics = self._metrics()
        trained, offered = int(metrics.get("samples_seen", 0)), int(metrics.get("rows/offered", 0))
        whole = {"train": time.perf_counter() - self._begin}
        reached: dict[str, Any] = {"steps": int(metrics.get("step", 0)), "rows_trained": trained}
        reached |= {"seconds": whole, "energy": {}} if self._meter is None else self._meter.result()
        if offered:
            reached |= {
                "rows_offered": offered,
                "mean_activation_rate": trained / offered,
                "skipped_share": 1 - trained / offered,
                "nominal_savings": 0.99 * (1 - trained / offered),
            }
        if self._flops is not None:
            forward, backward = self._flops
            reached["flops"] = {"train": trained * (forward + backward), "score": 0.0, "forward_per_sample": forward}
        if self._accuracies:
            best = max(self._accuracies, key=lambda entry: entry[1])
            reached |= {
                "final_accuracy": self._accuracies[-1][1],
                "best_accuracy": best[1],
                "best_epoch": best[0],
            }
        if isinstance(self._selection, Selection) and (facts := dict(self._selection.method.facts())):
            reached["selection"] = facts
        return reached


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {p: metadata.version(p) for p in ("torch", "numpy")}


def _hardware(device: torch.device) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "device": device.type,
        "cpu": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "host": platform.node(),
    }
    if device.type == "cuda":
        from ast_experiments.energy.build import gpu_facts, gpu_uuid

        name = torch.cuda.get_device_name(device)
        facts |= {"gpu": name, "gpu_uuid": gpu_uuid(device), **gpu_facts(device)}
    return facts
