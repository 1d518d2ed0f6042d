"""Collects the signs of a run: from its labels and images, its settings, and a pilot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ast_experiments.config.schema import Config
from ast_experiments.core.batch import class_indices
from ast_experiments.core.errors import DataError
from ast_experiments.data.dataset import Dataset
from ast_experiments.data.repeats import find_repeats
from ast_experiments.pilot.advice import choosing_config, dense_epochs
from ast_experiments.pilot.rule import Signs
from ast_experiments.pilot.size import SHARE
from ast_experiments.pilot.train import Pilot, pilot_size, run_pilot
from ast_experiments.runs.build import build_dataset
from ast_experiments.selection.build import build_method, build_rate_schedule, never_chooses
from ast_experiments.selection.held_out import estimate_held_out_noise, learned_share

RARE = 0.1
"""Share of the classes that is called the rarest."""


class Diagnosis(NamedTuple):
    """What was found.

    Attributes:
        signs: What the rule needs.
        pilot: The pilot; None if its share of the run is too short to tell anything.
        rows: Training rows.
        epochs: Epochs of the run.
        counts: Training rows of each class, shape (classes,).
    """

    signs: Signs
    pilot: Pilot | None
    rows: int
    epochs: int
    counts: np.ndarray


def diagnose(
    overrides: Sequence[str], config: Config, share: float = SHARE, dataset: Dataset | None = None
) -> Diagnosis:
    """Examines the data, and trains a pilot if its share of the run is long enough.

    Args:
        overrides: As typed.
        config: That they make, checked.
        share: Largest share of the dense run that the pilot trains and scores.
        dataset: The data set; None to load it.

    Raises:
        UserError: If the data is missing or damaged, or the run cannot be built.
    """
    chosen = choosing_config(overrides, config)
    method = build_method(chosen.method, chosen.controller, chosen.significance)
    dataset = dataset or build_dataset(config)
    labels = class_indices(dataset.train.labels)
    counts = dataset.class_counts
    schedule = build_rate_schedule(chosen.method, chosen.recipe.epochs, counts)
    if np.count_nonzero(counts) < 2:
        raise DataError("pilot: the training samples are of one class only, so there is nothing to learn")
    present = counts[counts > 0]
    signs = Signs(
        rows=len(labels),
        imbalance=float(present.max() / present.min()),
        tail=float(present.max() / np.quantile(present, RARE)),
        repeats=find_repeats(dataset.train, labels, config.seed),
        epochs=dense_epochs(chosen),
        chooses=not never_chooses(method, schedule, chosen.recipe.epochs) and chosen.recipe.epochs > 1,
        views=config.eval_views,
    )
    size = pilot_size(config, len(labels), dataset.image_shape[0], share)
    pilot = None
    if size is not None:
        pilot = run_pilot(config, dataset, size)
        signs = signs._replace(
            accuracy=float(np.mean(pilot.logits.argmax(axis=1) == pilot.labels)),
            learned=learned_share(pilot.logits, pilot.labels, config.recipe.label_smoothing),
            noise=estimate_held_out_noise(pilot.logits, pilot.labels, counts),
        )
    return Diagnosis(signs, pilot, len(labels), config.recipe.epochs, counts)
