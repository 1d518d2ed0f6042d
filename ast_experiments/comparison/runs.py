"""Loads runs to compare: their figures, and the facts that must match."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ast_experiments.runs.record import CONFIG, RESULT, RunRecord, find_runs, read_run

AXES = {
    "joules": ("energy", "J"),
    "seconds": ("time", "s"),
    "flops": ("compute", "FLOPs"),
    "samples": ("rows trained", "rows"),
}
"""Cost axes: name and unit by key."""

MEASURED = ("joules", "seconds")
UNIFORM = ("dense", "rs2", "random")
"""Methods that choose no sample for what it is, for results that do not say so themselves."""
NOTHING = "no run at or below it"  # in the note on a path without runs
TRIAL = "trial"
"""Tag of runs that only search for a learning rate."""

METERS = ("nvml", "rapl", "zeus")
"""Prefixes of energy sources that are meters; other sources are estimates."""

_FREE = ("setup",)
_LENGTH = ("name", "epochs", "lr", "min_lr", "warmup_lr", "warmup_epochs")
_NAMES = frozenset(
    ("seed", "tracking", "group", "tags", "experiment_name", "checkpoint_every_s", "profile", "hardware", "energy")
)
_PLACES = ("dataset.root", "dataset.download")


def axis_name(axis: str) -> str:
    """Returns the name of an axis within a sentence."""
    return "FLOPs" if axis == "flops" else axis


@dataclass(frozen=True, slots=True)
class Run:
    """One finished or failed run.

    Attributes:
        name: Shortest path of its directory.
        dataset: Name of the data set.
        method: Name of the method.
        uniform: Whether the method chooses no sample for what it is.
        seed: Seed.
        settings: Settings that affect results, except seed and hardware: dotted key to text.
        facts: Facts that must match in every comparison: name to text.
        hardware: Facts that must match to compare seconds or joules.
        source: Source of its joules; empty without a meter.
        why_not: Why energy was not measured; empty if unknown.
        figures: `accuracy`, costs under the keys of `AXES`, rates and savings; figures not measured are absent.
        shared: What other runs used at the same time, such as "cores"; empty if nothing.
        phases: Costs by phase, under `joules`, `seconds` and `flops`.
        tags: Tags of the config.
        record: Content of the files, without the metric rows.
    """

    name: str
    dataset: str
    method: str
    uniform: bool
    seed: int
    settings: Mapping[str, str]
    facts: Mapping[str, str]
    hardware: Mapping[str, str]
    source: str
    why_not: str
    figures: Mapping[str, float]
    shared: tuple[str, ...]
    phases: Mapping[str, Mapping[str, float]]
    tags: tuple[str, ...]
    record: RunRecord


@dataclass(slots=True)
class LoadedRuns:
    """Runs found at some paths.

    Attributes:
        runs: Finished runs.
        failed: Failed runs.
        trials: Number of learning-rate trials, which are skipped.
        notes: One line for every other run that is skipped.
    """

    runs: list[Run] = field(default_factory=list)
    failed: list[Run] = field(default_factory=list)
    trials: int = 0
    notes: list[str] = field(default_factory=list)


def load(paths: Iterable[str | os.PathLike[str]], *, views: bool = False) -> LoadedRuns:
    """Reads the runs at and below the paths; notes name the runs that cannot be compared.

    Args:
        paths: Run directories, or directories of them.
        views: Whether the accuracy is the one with six views (`eval_views`); runs without it are skipped.
    """
    found, seen = LoadedRuns(), {}
    for path in paths:
        below = find_runs(path) if Path(path).is_dir() else []
        if not below:
            found.notes.append(f"{path}: {NOTHING}; skipped")
        for directory in below:
            if directory.resolve() not in seen.values():
                record = read_run(directory, metrics=False)
                _add(found, _with_views(record) if views else record, seen)
    if views:
        found.notes.append("accuracies are those with six views")
    if found.trials:
        found.notes.append(f"learning-rate trials skipped: {found.trials}")
    return found


def _with_views(record: RunRecord) -> RunRecord:
    return replace(record, result={**record.result, "final_accuracy": record.result.get("final_accuracy_views")})


def _add(found: LoadedRuns, record: RunRecord, seen: dict[str, Path]) -> None:
    name = os.path.relpath(record.directory)
    name = name if len(name) <= len(str(record.directory)) else str(record.directory)
    identity = str(record.result.get("run_id") or record.directory.resolve())
    if identity in seen:
        found.notes.append(f"{name}: a copy of {os.path.relpath(seen[identity])}; skipped")
        return
    seen[identity] = record.directory.resolve()
    run = _run(name, record)
    missing = "no result.json" if not (record.directory / RESULT).exists() else f"{RESULT} is not a JSON object"
    if not record.result:
        found.notes.append(f"{name}: {missing}; skipped")
    elif TRIAL in run.tags:
        found.trials += 1
    elif record.status == "failed":
        found.failed.append(run)
        found.notes.append(f"{name}: failed; skipped, but counted as failed")
    elif record.status != "finished":
        found.notes.append(f"{name}: {record.status}; skipped")
    elif not run.dataset or not run.method or run.seed < 0 or "accuracy" not in run.figures:
        found.notes.append(f"{name}: {RESULT} lacks dataset, method, seed or final_accuracy; skipped")
    else:
        found.runs.append(run)
        if not record.config:
            found.notes.append(f"{name}: {CONFIG} is missing or unreadable; settings are taken from {RESULT}")


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
        uniform=bool(result.get("uniform", result.get("method") in UNIFORM)),
        seed=seed if isinstance(seed, int) else -1,
        settings=settings,
        facts=_facts(result, settings, hardware),
        hardware=_hardware(hardware, result.get("ranks", 1)),
        source=str(energy.get("source" if on_gpu else "cpu_source") or ""),
        why_not=str(energy.get("why_not") or ""),
        figures=_figures(result, energy, on_gpu),
        shared=tuple(map(str, shared)) if isinstance(shared := result.get("shared"), list) else (),
        phases=_phases(result, energy, "gpu_joules" if on_gpu else "cpu_joules"),
        tags=tuple(map(str, tags)) if isinstance(tags := result.get("tags"), list) else (),
        record=record,
    )


def _figures(result: Mapping[str, Any], energy: Mapping[str, Any], on_gpu: bool) -> dict[str, float]:
    seconds, flops = _numbers(_mapping(result, "seconds")), _numbers(_mapping(result, "flops"))
    counted = [flops[phase] for phase in ("score", "train", "val") if phase in flops]
    # CPU joules count only for a run that trains on the CPU; they never replace a GPU's.
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
        "target_accuracy": result.get("target_accuracy"),
        "seconds_to_accuracy": result.get("seconds_to_accuracy"),
        "joules_to_accuracy": result.get("joules_to_accuracy"),
    }
    figures = _numbers(raw)
    return {key: value for key, value in figures.items() if key not in AXES or value > 0}  # a cost of 0 means unknown


def _phases(result: Mapping[str, Any], energy: Mapping[str, Any], joules: str) -> dict[str, dict[str, float]]:
    metered = _mapping(energy, "by_phase")
    return {
        "joules": _numbers({phase: _mapping(metered, phase).get(joules) for phase in metered}),
        "seconds": {k: v for k, v in _numbers(_mapping(result, "seconds")).items() if k not in _FREE},
        "flops": _numbers({key: _mapping(result, "flops").get(key) for key in ("score", "train", "val")}),
    }


def _settings(record: RunRecord) -> dict[str, str]:
    """Returns the config without names and hardware, flattened; without a config, the settings in the result.

    Null values are dropped, so that a run from before a setting existed matches one that has it unset.
    """
    kept = {key: value for key, value in record.config.items() if key not in _NAMES}
    if not kept:
        keys = ("dataset", "model", "method", "recipe", "scoring", "controller", "significance", "target")
        return {key: str(record.result[key]) for key in (*keys, "epochs_planned") if record.result.get(key) is not None}
    for group in ("controller", "significance"):
        if record.result.get(group) is None:
            kept.pop(group, None)
    return {key: value for key, value in _flat(kept).items() if key not in _PLACES and value != "null"}


def _facts(result: Mapping[str, Any], settings: Mapping[str, str], hardware: Mapping[str, Any]) -> dict[str, str]:
    facts = {"data": result.get("data_fingerprint"), "model": result.get("model")}
    facts["torch"] = _mapping(result, "versions").get("torch")
    facts["precision"] = hardware.get("precision")
    facts["batch parts"] = _batch_parts(result)
    known = {key: str(value) for key, value in facts.items() if value is not None}
    for key, value in settings.items():
        group, _, inner = key.partition(".")
        if (group in ("dataset", "model", "recipe") and inner not in _LENGTH) or key == "eval_every":
            known[key] = value
    return known


def _batch_parts(result: Mapping[str, Any]) -> str:
    """Returns into how many parts batches were split, and how: BatchNorm sees the parts."""
    batch = _mapping(result, "batch")
    rows, at_once, processes = batch.get("largest", batch.get("rows")), batch.get("at_once"), batch.get("processes")
    if not rows or not at_once or at_once >= rows:
        return "1"
    since = result.get("batch_split_from_step")
    by = f" by {processes} processes" if processes and processes > 1 else ""
    return f"{-(-rows // at_once)}{by}{f' from step {since}' if since else ''}"


def _hardware(hardware: Mapping[str, Any], ranks: object) -> dict[str, str]:
    facts = {
        "device": hardware.get("device"),
        "processes": ranks,
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
        facts |= {key: hardware.get(key) for key in ("cpu", "threads")}
        if host := hardware.get("host"):  # which machine, without its name
            facts["machine"] = hashlib.sha256(str(host).encode()).hexdigest()[:6]
    return {key: str(value) for key, value in facts.items() if value is not None}


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
    """Returns the finite numbers among the values."""
    return {
        key: float(value)
        for key, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
