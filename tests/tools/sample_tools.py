"""What a run leaves about its samples, made up."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ast_experiments.data.thumbnails import data_uri
from ast_experiments.runs.gallery import galleries


def left(folder: Path, labels: np.ndarray, visits: np.ndarray, classes: list[str]) -> Path:
    """Writes the files that a run leaves about its samples."""
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    rows = len(labels)
    columns = {
        "id": np.arange(rows, dtype=np.int32),
        "label": labels,
        "visits": visits.astype(np.int32),
        "last_loss": random.random(rows).astype(np.float32),
        "last_epoch": np.where(visits > 1, 3, np.where(visits > 0, 1, -1)),
        "predicted": random.integers(0, len(classes), rows).astype(np.int16),
        "confidence": random.random(rows).astype(np.float16),
        "margin": random.normal(size=rows).astype(np.float32),
    }
    np.savez(folder / "samples.npz", allow_pickle=False, **columns)
    chosen = galleries(columns, 24)
    pixels = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    samples = {
        str(row): {key: columns[key][row].item() for key in ("label", "predicted", "confidence", "visits", "last_loss")}
        | {"where": f"/data/{classes[labels[row]]}/{row}.JPEG", "picture": data_uri(pixels), "altered": []}
        for row in np.concatenate(list(chosen.values())).tolist()
    }
    content = {"classes": classes, "galleries": {k: v.tolist() for k, v in chosen.items()}, "samples": samples}
    (folder / "samples.json").write_text(json.dumps(content))
    if not (folder / "result.json").exists():
        (folder / "result.json").write_text(json.dumps({"status": "finished", "epochs": 4}))
    return folder
