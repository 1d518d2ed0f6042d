"""samples.json: the samples that a run's page shows, with thumbnails; written when the run ends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ast_experiments.core.files import write_atomic
from ast_experiments.data.dataset import Dataset
from ast_experiments.data.synsets import readable
from ast_experiments.data.thumbnails import place, thumbnails
from ast_experiments.runs.record import GALLERY
from ast_experiments.selection.suspects import suspects

GALLERIES = ("most", "least", "once", "suspects")
SHOWN = ("label", "predicted", "confidence", "visits", "last_loss", "margin")
ALTERED = ("label_noise", "duplicates", "corruption")
SEED = 0


def galleries(columns: Mapping[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
    """Chooses the samples to show from the columns of `samples.npz`.

    Args:
        columns: By name, each of shape (n,).
        size: Samples of a gallery.

    Returns:
        By gallery, rows, int64, at most `size`. `most`: the most visits. `least`: the fewest visits, by which samples
        without a visit come first. `once`: trained in one epoch before the last and never chosen again. `suspects`:
        probably a wrong label. Ties are broken at random, with a fixed seed. If all samples have equally many visits,
        the first three are empty.
    """
    visits = columns["visits"]
    order = np.random.Generator(np.random.Philox(SEED)).permutation(len(visits))
    empty = np.zeros(0, np.int64)
    found: dict[str, np.ndarray] = dict.fromkeys(GALLERIES, empty)
    if len(visits) and visits.min() < visits.max():
        by_visits = order[np.argsort(visits[order], kind="stable")]
        last = columns["last_epoch"][order]
        once = order[(visits[order] == 1) & (last < last.max())]
        found |= {"most": by_visits[::-1][:size], "least": by_visits[:size], "once": once[:size]}
    if "predicted" in columns:
        found["suspects"] = suspects(columns["label"], columns["predicted"], columns["margin"])[:size]
    return found


def write_gallery(folder: Path, columns: Mapping[str, np.ndarray], dataset: Dataset, size: int) -> Path:
    """Writes samples.json into a run directory, atomically.

    Args:
        folder: The run directory.
        columns: Columns of `samples.npz`.
        dataset: Data set of the run; its training samples are those of the columns.
        size: Samples of a gallery.
    """
    chosen = galleries(columns, size)
    rows = np.unique(np.concatenate(list(chosen.values()))).astype(np.int64)
    pictures = thumbnails(dataset.train, rows)
    samples = {
        str(row): _sample(columns, row) | {"where": place(dataset.train, row), "picture": picture}
        for row, picture in zip(rows.tolist(), pictures, strict=True)
    }
    content = {
        "classes": readable(dataset.classes),
        "galleries": {name: ids.tolist() for name, ids in chosen.items()},
        "samples": samples,
    }
    return write_atomic(folder / GALLERY, json.dumps(content))


def _sample(columns: Mapping[str, np.ndarray], row: int) -> dict[str, Any]:
    known = {key: _plain(columns[key][row]) for key in SHOWN if key in columns}
    return known | {"altered": [key for key in ALTERED if key in columns and columns[key][row]]}


def _plain(value: Any) -> float | int | None:
    """Returns a number that JSON knows, with four decimals; None for NaN."""
    number = value.item()
    return number if isinstance(number, int) else round(number, 4) if np.isfinite(number) else None
