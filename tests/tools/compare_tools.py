"""Synthetic studies for tests of comparisons: run directories with given figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ast_experiments.comparison.compare import Comparison, compare
from ast_experiments.comparison.runs import load

GPU = {
    "device": "cuda",
    "precision": "bfloat16",
    "gpu": "H100",
    "gpu_uuid": "GPU-1",
    "driver": "550.1",
    "power_limit_w": 700.0,
}
CPU = {"device": "cpu", "precision": "float32", "cpu": "EPYC", "threads": 2, "host": "vm"}

CONFIG = """\
seed: {seed}
dataset: {{name: {dataset}, root: /data}}
model: {{name: resnet18}}
method: {{name: {method}, rate: {rate}}}
recipe: {{name: sgd, optimizer: sgd, epochs: {epochs}, lr: {lr}}}
hardware: {{name: gpu}}
"""


def write_run(
    folder: Path,
    *,
    method: str,
    seed: int,
    accuracy: float,
    cost: float,
    dataset: str = "cifar10",
    rate: float = 1.0,
    epochs: int = 10,
    lr: float = 0.1,
    metered: bool = True,
    rows: bool = False,
    **changes: Any,
) -> Path:
    """Writes one run that costs `cost` seconds, at 300 J, 1e12 FLOPs and 1,000 rows per second."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(
        CONFIG.format(seed=seed, dataset=dataset, method=method, rate=rate, epochs=epochs, lr=lr)
    )
    energy: dict[str, Any] = {
        "source": None,
        "cpu_source": None,
        "why_not": "GPU: no NVIDIA GPU in use",
    }
    if metered:
        joules = {"gpu_joules": 300 * cost, "gpu_joules_above_idle": 230 * cost}
        energy = {"source": "nvml", "cpu_source": None, "why_not": None, "idle_power_w": 70.0, **joules}
        energy["by_phase"] = {
            "train": {"seconds": 0.8 * cost, "gpu_joules": 250 * cost},
            "val": {"gpu_joules": 50 * cost},
        }
    result = {
        "status": "finished",
        "run_id": str(folder),
        "dataset": dataset,
        "model": "resnet18",
        "method": method,
        "controller": None,
        "significance": None,
        "recipe": "sgd",
        "seed": seed,
        "tags": [],
        "target": rate,
        "started": f"2026-01-01T00:0{seed}:00+00:00",
        "finished": f"2026-01-01T00:0{seed}:30+00:00",
        "resumed": 0,
        "versions": {"torch": "2.6"},
        "commit": "c0ffee",
        "hardware": GPU if metered else CPU,
        "data_fingerprint": "f00d",
        "epochs": epochs,
        "rows_trained": 1000 * cost,
        "mean_activation_rate": rate,
        "nominal_savings": 0.99 * (1 - rate),
        "skipped_share": 1 - rate,
        "seconds": {"setup": 5.0, "train": 0.8 * cost, "val": 0.2 * cost},
        "flops": {"score": 0, "train": 8e11 * cost, "val": 2e11 * cost},
        "final_accuracy": accuracy,
        "energy": energy,
    }
    (folder / "result.json").write_text(json.dumps(result | changes))
    if rows:
        (folder / "metrics.jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in _rows(result, rate, epochs, cost))
        )
    return folder


def write_arm(root: Path, method: str, accuracies: Sequence[float], cost: float, **changes: Any) -> list[Path]:
    """Writes an arm: one run per accuracy, with seeds from 0."""
    number = len(list(root.glob(f"{method}*")))
    return [
        write_run(root / f"{method}{number}-{seed}", method=method, seed=seed, accuracy=accuracy, cost=cost, **changes)
        for seed, accuracy in enumerate(accuracies)
    ]


def _rows(result: dict[str, Any], rate: float, epochs: int, cost: float) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for epoch in range(1, epochs + 1):
        done = epoch / epochs
        at = {"step": epoch, "epoch": epoch, "progress": done}
        if rate < 1:
            rows.append({"kind": "step", **at, "control/threshold": 2.0 - done})
        joules = {"energy/gpu_joules": 300 * cost * done} if result["energy"]["source"] else {}
        rows.append(
            {
                "kind": "epoch",
                **at,
                "val/accuracy": result["final_accuracy"] * done**0.25,
                "epoch/activation_rate": rate,
                "energy/skipped_share": 1 - rate,
                "compute/train_flops": 8e11 * cost * done,
                "time/train_s": cost * done,
                **joules,
            }
        )
    return rows


DENSE, SHORTER, RS2 = (95.0, 95.1, 94.9), (93.0, 93.1, 92.9), (92.8, 92.9, 92.7)


def study(root: Path, accuracies: tuple[float, ...] = (94.0, 94.1, 93.9), cost: float = 40.0, **changes: Any) -> Path:
    """Dense, dense for 40 % of the epochs, rs2 at 0.4, and a method."""
    write_arm(root, "dense", DENSE, 100, epochs=10)
    write_arm(root, "dense", SHORTER, 41, epochs=4, tags=["baseline=dense_shorter:ast"])
    write_arm(root, "rs2", RS2, 40, rate=0.4, tags=["baseline=rs2:ast"])
    write_arm(root, "ast", accuracies, cost, **({"rate": 0.4} | changes))
    return root


def compared(root: Path, **options: Any) -> Comparison:
    return compare(load([root]), "cifar10", **options)
