"""Files of study runs that were never trained, with figures that a test chooses."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ast_experiments.config.schema import Config
from ast_experiments.experiments.study.arms import Arm, arm_config, parse_methods, with_dense
from ast_experiments.experiments.study.plan import Study, StudyPlan, StudyRun
from ast_experiments.experiments.study.queue import StudyQueue

FORWARD, SAMPLES, VALIDATED = 1.0e6, 1000, 200

_composed = cache(arm_config)


def composed(common: Sequence[str], arm: Arm) -> Config:
    """Returns the config of an arm; composes it once for all tests."""
    return _composed(tuple(common), arm)


def write_result(queue: StudyQueue, run: StudyRun, *, rate: float = 1.0, joules: bool = False, **changes: Any) -> Path:
    """Writes a result: a trained row costs three forward passes, a validated row one, and an operation 1e-6 J."""
    config = queue.job(run).config
    epochs = config.recipe.epochs
    rows = round(rate * SAMPLES * epochs)
    flops = {"score": 0, "train": 3 * FORWARD * rows, "val": FORWARD * VALIDATED * epochs}
    energy: dict[str, Any] = {"why_not": "GPU: there is none"}
    if joules:
        phases = {"setup": 100.0, "train": 1e-6 * flops["train"], "val": 1e-6 * flops["val"]}
        energy = {"source": "nvml", "gpu_joules": sum(phases.values())}
        energy["by_phase"] = {phase: {"gpu_joules": value} for phase, value in phases.items()}
    result: Mapping[str, Any] = {
        "status": "finished",
        "run_id": run.path,
        "dataset": "digits",
        "method": config.method.name,
        "seed": run.seed,
        "tags": config.tags,
        "hardware": {"device": "cuda" if joules else "cpu"},
        "train_samples": SAMPLES,
        "epochs": epochs,
        "rows_trained": rows,
        "flops": flops,
        "seconds": {"train": 10.0 * rate, "val": 1.0},
        "energy": energy,
        "final_accuracy": 90.0,
        **changes,
    }
    folder = queue.folder / run.path
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps(result))
    queue.reload(run)
    return folder


def queue_of(
    folder: Path,
    methods: str,
    *,
    seeds: int = 3,
    lr_trials: int = 0,
    cost: str = "auto",
    baselines: tuple[str, ...] | None = None,
) -> StudyQueue:
    """Returns the queue of a new study of ten epochs."""
    common = ("recipe.epochs=10", "recipe.warmup_epochs=1")
    arms = with_dense(parse_methods(methods))
    return StudyQueue(StudyPlan(Study("study", common, arms, tuple(range(seeds)), lr_trials, cost, baselines)), folder)
