"""Runs of a comparison: read from files, grouped into arms, with the facts that have to agree."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ast_experiments.analysis.compare_stats import Floats
from ast_experiments.analysis.leaderboard import varied_keys
from ast_experiments.analysis.runs import METRICS, RESULT, RunRecord, find_runs, read_run

AXES = {
    "joules": ("energy", "J"),
    "seconds": ("time", "s"),
    "flops": ("arithmetic", "FLOPs"),
    "samples": ("sample-visits", "rows"),
}
"""What a cost is counted in: its name and its unit."""

MEASURED = ("joules", "seconds")
UNIFORM = ("dense", "rs2", "random")
"""Methods that choose no sample for what it is."""

METERS = ("nvml", "rapl", "zeus")
"""How the names of energy sources begin that read a meter; others are estimates."""

_FREE = ("setup", "checkpoint")
_LENGTH = ("name", "epochs", "lr", "min_lr", "warmup_lr", "warmup_epochs")
_NAMES = frozenset(
    ("seed", "tracking", "group", "tags", "experiment_name", "checkpoint_every_s", "profile", "hardware", "energy")
)
_PLACES = ("dataset.root", "dataset.download")
_FIRST = ("method.scoring", "method.rate", "controller.name", "significance.name", "recipe.epochs", "recipe.lr")


@dataclass(frozen=True, slots=True)
class Run:
    """One finished or failed run.

    Attributes:
        name: Its directory, as short as it can be.
        dataset: The data set's name.
        method: The method's name.
        seed: Its seed.
        settings: What determines its numbers, beside seed and hardware: dotted key to text.
        facts: What must agree in every comparison: name to text.
        hardware: What must agree where seconds or joules are compared.
        source: Where its joules come from; empty without a meter.
        why_not: Why they were not measured; empty if that is not told.
        figures: `accuracy`, costs by the keys of `AXES`, rates and savings; an absent key was not measured.
        phases: Seconds and FLOPs by phase, under `seconds` and `flops`.
        tags: As in the config.
        record: The files' content.
    """

    name: str
    dataset: str
    method: str
    seed: int
    settings: Mapping[str, str]
    facts: Mapping[str, str]
    hardware: Mapping[str, str]
    source: str
    why_not: str
    figures: Mapping[str, float]
    phases: Mapping[str, Mapping[str, float]]
    tags: tuple[str, ...]
    record: RunRecord


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


@dataclass(slots=True)
class Loaded:
    """What was found.

    Attributes:
        runs: Finished runs.
        failed: Failed runs.
        notes: A line for every run that is left out, or that is there twice.
    """

    runs: list[Run] = field(default_factory=list)
    failed: list[Run] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def load(paths: Iterable[str | os.PathLike[str]]) -> Loaded:
    """Reads the runs at and below the paths; what cannot be compared is named in the notes."""
    found, seen = Loaded(), {}
    for path in paths:
        below = find_runs(path) if Path(path).is_dir() else []
        if not below:
            found.notes.append(f"{path}: no run at or below it; left out")
        for directory in below:
            if directory.resolve() not in seen.values():
                _add(found, read_run(directory), seen)
    return found


def _add(found: Loaded, record: RunRecord, seen: dict[str, Path]) -> None:
    name = os.path.relpath(record.directory)
    name = name if len(name) <= len(str(record.directory)) else str(record.directory)
    identity = str(record.result.get("run_id") or record.directory.resolve())
    if identity in seen:
        found.notes.append(f"{name}: a copy of {os.path.relpath(seen[identity])}; left out")
        return
    seen[identity] = record.directory.resolve()
    run = _run(name, record)
    lacking = "no result.json" if not (record.directory / RESULT).exists() else f"{RESULT} is no JSON object"
    if not record.result:
        found.notes.append(f"{name}: {lacking}; left out")
    elif record.status == "failed":
        found.failed.append(run)
        found.notes.append(f"{name}: failed; left out, but counted as failed")
    elif record.status != "finished":
        found.notes.append(f"{name}: {record.status}; left out")
    elif not run.dataset or not run.method or run.seed < 0 or "accuracy" not in run.figures:
        found.notes.append(f"{name}: {RESULT} tells no dataset, method, seed or final_accuracy; left out")
    else:
        found.runs.append(run)


def _run(name: str, record: RunRecord) -> Run:
    result = record.result
    hardware, energy = _mapping(result, "hardware"), _mapping(result, "energy")
    settings = _settings(record)
    on_gpu = hardware.get("device") == "cuda"
    seed = result.get("seed")
    return Run(
        name=name,
        dataset=str(result.get("dataset") or ""),
        method=str(result.get("method") or ""),
        seed=seed if isinstance(seed, int) else -1,
        settings=settings,
        facts=_facts(result, settings, hardware),
        hardware=_hardware(hardware),
        source=str(energy.get("source" if on_gpu else "cpu_source") or ""),
        why_not=str(energy.get("why_not") or ""),
        figures=_figures(result, energy, on_gpu),
        phases={key: _numbers(_mapping(result, key)) for key in ("seconds", "flops")},
        tags=tuple(str(tag) for tag in result.get("tags") or ()),
        record=record,
    )


def _figures(result: Mapping[str, Any], energy: Mapping[str, Any], on_gpu: bool) -> dict[str, float]:
    seconds, flops = _numbers(_mapping(result, "seconds")), _numbers(_mapping(result, "flops"))
    counted = [flops[phase] for phase in ("score", "train", "val") if phase in flops]
    # The processor's joules are those of a run only where the processor trains; they never stand in for a GPU's.
    raw = {
        "accuracy": result.get("final_accuracy"),
        "joules": energy.get("gpu_joules" if on_gpu else "cpu_joules"),
        "joules_above_idle": energy.get("gpu_joules_above_idle") if on_gpu else None,
        "cpu_joules": energy.get("cpu_joules"),
        "idle_power_w": energy.get("idle_power_w"),
        "seconds": sum(value for phase, value in seconds.items() if phase not in _FREE),
        "flops": sum(counted) if "train" in flops else None,
        "samples": result.get("rows_trained"),
        "rate": result.get("mean_activation_rate"),
        "target": result.get("target"),
        "epochs": result.get("epochs"),
        "nominal_savings": result.get("nominal_savings"),
        "skipped_share": result.get("skipped_share"),
        "compute_savings": result.get("compute_savings"),
    }
    figures = _numbers(raw)
    for axis in AXES:  # a cost of 0 is none
        if figures.get(axis, 1.0) <= 0:
            del figures[axis]
    return figures


def _settings(record: RunRecord) -> dict[str, str]:
    """The config without names and hardware, dotted; without a config, what the result tells of it."""
    kept = {key: value for key, value in record.config.items() if key not in _NAMES}
    if not kept:
        keys = ("dataset", "model", "method", "recipe", "scoring", "controller", "significance", "target")
        return {key: str(record.result[key]) for key in (*keys, "epochs_planned") if record.result.get(key) is not None}
    for group in ("controller", "significance"):
        if record.result.get(group) is None:
            kept.pop(group, None)
    return {key: value for key, value in _flat(kept).items() if key not in _PLACES}


def _facts(result: Mapping[str, Any], settings: Mapping[str, str], hardware: Mapping[str, Any]) -> dict[str, str]:
    facts = {"data": result.get("data_fingerprint"), "model": result.get("model")}
    facts["torch"] = _mapping(result, "versions").get("torch")
    facts["precision"] = hardware.get("precision")
    told = {key: str(value) for key, value in facts.items() if value is not None}
    for key, value in settings.items():
        group, _, inner = key.partition(".")
        if (group in ("dataset", "model", "recipe") and inner not in _LENGTH) or key == "eval_every":
            told[key] = value
    return told


def _hardware(hardware: Mapping[str, Any]) -> dict[str, str]:
    facts = {
        "device": hardware.get("device"),
        "compile": hardware.get("compile"),
        "memory format": hardware.get("channels_last"),
        "determinism": hardware.get("deterministic"),
    }
    if hardware.get("device") == "cuda":
        facts |= {
            "GPU": hardware.get("gpu"),
            "GPU UUID": hardware.get("gpu_uuid"),
            "driver": hardware.get("driver"),
            "power limit": hardware.get("power_limit_w", hardware.get("gpu_power_limit_w")),
        }
    else:
        facts |= {key: hardware.get(key) for key in ("cpu", "threads", "host")}
    return {key: str(value) for key, value in facts.items() if value is not None}


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
    """The method of each arm and, where that is not enough to tell it from another, settings that differ."""
    told: list[dict[str, str]] = [
        {**arm.runs[0].settings, **arm.runs[0].facts, **arm.runs[0].hardware} for arm in arms
    ]
    names = [[arm.method] for arm in arms]
    for key in sorted(varied_keys(told), key=lambda key: (_FIRST.index(key) if key in _FIRST else len(_FIRST))):
        texts = [" ".join(name) for name in names]
        for text in set(texts):
            alike = [i for i, each in enumerate(texts) if each == text]
            if len({told[i].get(key) for i in alike}) > 1:
                for i in alike:
                    names[i].append(f"{key.removesuffix('.name').rpartition('.')[2]}={told[i].get(key, 'none')}")
    return [" ".join(name) for name in names]


def repeats(arms: Sequence[Arm]) -> int:
    """How many runs repeat the seed of another run of their arm."""
    return sum(len(arm.runs) - len(arm.seeds) for arm in arms)


def check_metrics(run: Run) -> bool:
    """Whether the run has its rows of metrics."""
    return (run.record.directory / METRICS).exists() and bool(run.record.epochs)


def _same(one: Run, other: Run) -> bool:
    return one.method == other.method and one.settings == other.settings


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value, default=str)
    return flat


def _mapping(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = values.get(key)
    return found if isinstance(found, Mapping) else {}


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers among the values."""
    return {
        key: float(value)
        for key, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
