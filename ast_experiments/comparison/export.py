"""Exports a comparison as raw figures: CSV with one arm per row, and JSON with everything."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ast_experiments.comparison.compare import Comparison
from ast_experiments.comparison.runs import AXES, Run
from ast_experiments.comparison.stats import CONFIDENCE, Interval, interval
from ast_experiments.comparison.verdicts import ArmResult
from ast_experiments.comparison.wording import join, remarks
from ast_experiments.core.files import write_atomic

COSTS = (*AXES, "joules_above_idle", "cpu_joules")
SHARES = ("rate", "nominal_savings", "skipped_share", "compute_savings")


def write_csv(comparisons: Sequence[Comparison], path: Path) -> None:
    """Writes one arm per row; columns without values are left out."""
    rows = [figures(comparison, each) for comparison in comparisons for each in comparison.results]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def write_json(comparisons: Sequence[Comparison], path: Path) -> None:
    """Writes the rules, the arms with their figures and runs, and the notes of each data set."""
    content = [
        {
            "dataset": comparison.dataset,
            "rules": dataclasses.asdict(comparison.rules) | {"confidence": CONFIDENCE},
            "energy": comparison.energy,
            "notes": comparison.notes,
            "arms": [
                figures(comparison, each)
                | {
                    "remarks": remarks(each, comparison.rules.x),
                    "on_front": each.on_front,
                    "runs": [_run(run) for run in each.arm.runs],
                }
                for each in comparison.results
            ],
        }
        for comparison in comparisons
    ]
    write_atomic(path, json.dumps(_finite(content), indent=1, allow_nan=False) + "\n")


def figures(comparison: Comparison, result: ArmResult) -> dict[str, Any]:
    """Returns the known figures of an arm; unknown figures and open ends of intervals are absent."""
    arm, verdict, vs_dense = result.arm, result.verdict, result.vs_dense
    levels = {met.arm.number: met.level for met in comparison.criteria}
    row: dict[str, Any] = {
        "dataset": comparison.dataset,
        "number": arm.number,
        "arm": arm.label,
        "method": arm.method,
        "x": comparison.rules.x,
        "verdict": verdict.word,
        "reasons": join(verdict.reasons),
        "a_claim_needs": join(verdict.needs),
        "seeds": len(arm.seeds),
        "failed": arm.failed,
        **_ends("accuracy", interval(arm.values("accuracy"))),
        "against": verdict.against,
        **_ends("points_above_uniform", verdict.difference),
        "p_equal": verdict.p_equal,
        **_ends("saved_at_equal_accuracy", verdict.saving),
        **{key: arm.mean(key) for key in SHARES},
    }
    if vs_dense is not None:
        row |= {"dense": vs_dense.dense.label, **_ends("points_above_dense", vs_dense.gap)}
        row |= {"p_equal_to_dense": vs_dense.p_equal, **_ends("flops_saved", vs_dense.compute.saving)}
        row |= {**_ends(f"{vs_dense.measured.axis}_saved", vs_dense.measured.saving)}
        row["measured_not_comparable"] = join(vs_dense.measured.reasons)
    for key in COSTS:
        row |= _ends(key, interval(arm.values(key)))
    row["published_criteria"] = levels.get(arm.number)
    return {key: value for key, value in row.items() if _finite(value) not in (None, "")}


def _ends(key: str, found: Interval | None) -> dict[str, float]:
    return {} if found is None else {key: found.mean, f"{key}_low": found.low, f"{key}_high": found.high}


def _run(run: Run) -> dict[str, Any]:
    facts = run.record.result.get("selection")
    chosen = {"selection": facts} if facts else {}
    return {"run": run.name, "seed": run.seed, "energy_source": run.source or None, "figures": run.figures} | chosen


def _finite(value: Any) -> Any:
    """Replaces NaN and infinities by None; JSON has neither."""
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
