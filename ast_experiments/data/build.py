"""Builds the data of a run from the `dataset` settings: splits, held-out samples, soft labels and loaders."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ast_experiments.core.errors import ConfigError
from ast_experiments.data import regimes
from ast_experiments.data.dataset import Dataset, Samples
from ast_experiments.data.find import loader
from ast_experiments.data.loaders.base import Loader
from ast_experiments.data.loaders.placement import build_loader
from ast_experiments.data.loaders.transforms import TRANSFORM_SETTINGS, Transform, build_transforms

NOT_FOR_LOADING = ("name", "mean", "std", *TRANSFORM_SETTINGS, *regimes.OFF)
"""Settings that the function that loads a data set does not get."""

SPLIT_KEY = (0, 11)
"""Key of the draw of held-out samples; it does not contain the seed of the run."""


class Loaders(NamedTuple):
    """The loaders of a run.

    Attributes:
        train: Training samples, augmented.
        val: Validation samples.
        held_out: Samples kept out of training, augmented, because auxiliary models train on them; None without any.
    """

    train: Loader
    val: Loader
    held_out: Loader | None


def build_dataset(settings: Any, soft_labels: str | None = None) -> Dataset:
    """Loads the data set that the settings name, and applies its regime to the training samples.

    Args:
        settings: Dataclass of the `dataset` settings, with what is left to the model filled in.
        soft_labels: A .npy file with class probabilities that replace the training labels.

    Raises:
        DataError: If the data is missing or damaged.
        ConfigError: If normalisation, regime or soft labels do not fit the data.
    """
    given = {key: value for key, value in dataclasses.asdict(settings).items() if key not in NOT_FOR_LOADING}
    dataset = loader(settings.name)(**given)
    channels = dataset.image_shape[2]
    for key in ("mean", "std"):
        values = getattr(settings, key)
        if len(values) != channels:
            raise ConfigError(f"dataset.{key}: has {len(values)} values, but the images have {channels} channels")
    dataset = regimes.apply(dataset, regimes.Regime(**{key: getattr(settings, key) for key in regimes.OFF}))
    return dataset if soft_labels is None else replace_labels(dataset, soft_labels)


def replace_labels(dataset: Dataset, file: str) -> Dataset:
    """Replaces the training labels by the class probabilities in a .npy file.

    Raises:
        ConfigError: If the file cannot be read or holds something else.
    """
    try:
        if not Path(file).is_file():
            raise ValueError("there is no such file")
        soft = np.load(file).astype(np.float32)
    except Exception as error:  # numpy parses the header as a line of Python, with errors of many kinds
        raise ConfigError(f"recipe.soft_labels: {file} cannot be read as a .npy file ({error})") from error
    wanted = (len(dataset.train), len(dataset.classes))
    if soft.shape != wanted or (soft < 0).any() or not np.allclose(soft.sum(axis=1), 1, atol=1e-3):
        raise ConfigError(
            f"recipe.soft_labels: {file} has shape {soft.shape}; expected probabilities of shape {wanted}, "
            "at least 0 and adding up to 1 in each row"
        )
    return dataclasses.replace(dataset, train=dataset.train.with_labels(soft))


def hold_out(dataset: Dataset, share: float) -> tuple[Dataset, Samples | None]:
    """Keeps a share of the training samples out of training, the same ones for every seed.

    Returns:
        The data set without them, whose ids count the samples that remain, and the held-out samples; None if `share`
        is 0.

    Raises:
        ConfigError: If no sample, or every sample, would be held out.
    """
    if not share:
        return dataset, None
    order = np.random.Generator(np.random.Philox(np.random.SeedSequence(SPLIT_KEY))).permutation(len(dataset.train))
    rows = round(share * len(order))
    if not 0 < rows < len(order):
        raise ConfigError(f"holdout: {share:g} of {len(order)} training samples is {rows}; type holdout=0.1 or so")
    kept, held = np.sort(order[rows:]), np.sort(order[:rows])
    altered = {kind: flags[kept] for kind, flags in dataset.altered.items()}
    return dataclasses.replace(dataset, train=dataset.train.take(kept), altered=altered), dataset.train.take(held)


def split(dataset: Dataset, share: float, *, validate: bool, learn: bool) -> tuple[Dataset, Samples | None]:
    """Holds out training samples, to validate on or for a method to learn from; for both, each gets every other one.

    Args:
        dataset: As loaded.
        share: Share of the training samples to hold out.
        validate: Whether the run validates on held-out samples instead of the validation split.
        learn: Whether the method trains on held-out samples: it is not validated on these.

    Returns:
        The data set of the run, and the held-out samples for the method; None if `share` is 0.

    Raises:
        ConfigError: If no sample, or every sample, would be held out.
    """
    dataset, held = hold_out(dataset, share)
    if held is None or not validate:
        return dataset, held
    dataset = dataclasses.replace(dataset, val=held.take(np.arange(learn, len(held), 1 + learn)))
    return dataset, held.take(np.arange(0, len(held), 2)) if learn else held


def check_batch_size(batch_size: int, samples: int) -> None:
    """Checks that the training samples fill a batch.

    Raises:
        ConfigError: If they do not.
    """
    if not samples:
        raise ConfigError("holdout: no training samples are left; type a smaller one, or a larger dataset.train_rows")
    if batch_size > samples:
        raise ConfigError(
            f"recipe.batch_size: {batch_size} is more than the {samples} training samples; "
            f"type recipe.batch_size={samples} or less"
        )


def plain_images(dataset: Dataset, settings: Any, rows: int, device: torch.device) -> torch.Tensor:
    """Returns the first `rows` training images, or all, as in validation: normalised, nothing random.

    Returns:
        float32, shape (n, channels, h, w), on the device.
    """
    samples = dataset.train.take(np.arange(min(rows, len(dataset.train))))
    _, plain = build_transforms(transform_settings(settings))
    loader = build_loader(samples, device=device, transform=plain, mean=settings.mean, std=settings.std, seed=0)
    return loader.fetch(np.arange(len(samples)), 0).images


def build_loaders(
    dataset: Dataset,
    held: Samples | None,
    settings: Any,
    *,
    device: torch.device,
    on_device: bool | None,
    workers: int,
    seed: int,
) -> Loaders:
    """Builds the loaders of all splits.

    Args:
        dataset: Training and validation samples.
        held: Samples kept out of training.
        settings: Dataclass of the `dataset` settings.
        device: The training device.
        on_device: Whether images are kept on the training device; None decides by their size.
        workers: Worker processes of each loader that keeps its images on the host.
        seed: Seed of the augmentation.

    Raises:
        ConfigError: If images are wanted on a device and cannot be kept there.
    """
    train, val = build_transforms(transform_settings(settings))

    def make(samples: Samples, transform: Transform) -> Loader:
        return build_loader(
            samples,
            device=device,
            on_device=on_device,
            workers=workers,
            transform=transform,
            mean=settings.mean,
            std=settings.std,
            seed=seed,
        )

    held_out = None if held is None else make(held, train)
    return Loaders(make(dataset.train, train), make(dataset.val, val), held_out)


def transform_settings(settings: Any) -> dict[str, Any]:
    """Returns the settings of a data set that describe its transforms."""
    return {key: value for key, value in dataclasses.asdict(settings).items() if key in TRANSFORM_SETTINGS}
