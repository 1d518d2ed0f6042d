"""Fills in the settings that a config leaves to others: image settings to the model, batches to the hardware."""

from __future__ import annotations

import dataclasses
from typing import Any

from ast_experiments.config.schema import Config
from ast_experiments.config.schema.dataset import EncodedConfig

USUAL: dict[str, Any] = {
    "size": 224,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "crop_share": 0.875,
    "interpolation": "bilinear",
}
"""Image settings that may be null, and their values if the model has none."""


def resolve(config: Config) -> Config:
    """Fills in the image settings that are null. Returns the same config if none is.

    timm records for every architecture how the images of its default weights were prepared.
    """
    dataset = config.dataset
    missing = [key for key in USUAL if isinstance(dataset, EncodedConfig) and getattr(dataset, key) is None]
    if not missing:
        return config
    wanted = _wanted(config.model)
    return dataclasses.replace(config, dataset=dataclasses.replace(dataset, **{key: wanted[key] for key in missing}))


def scale_batch(config: Config) -> Config:
    """Applies `hardware.batch_scale` to the recipe. For building a run only: its record keeps both settings."""
    from ast_experiments.training.hardware import scaled_batch

    recipe = config.recipe
    rows, factor = scaled_batch(recipe.batch_size, config.hardware.batch_scale, recipe.optimizer)
    rates = {key: factor * getattr(recipe, key) for key in ("lr", "warmup_lr", "min_lr")}
    first = recipe.first_stage and dataclasses.replace(recipe.first_stage, min_lr=factor * recipe.first_stage.min_lr)
    return dataclasses.replace(
        config,
        recipe=dataclasses.replace(recipe, batch_size=rows, first_stage=first, **rates),
        hardware=dataclasses.replace(config.hardware, batch_scale=1.0),
    )


def image_settings(config: Config) -> dict[str, Any]:
    """Returns how images are prepared, for the record; empty for data sets in memory."""
    return {key: getattr(config.dataset, key) for key in USUAL if isinstance(config.dataset, EncodedConfig)}


def describe_images(config: Config) -> str | None:
    """Returns a line about the image settings that agree with the model; None if there are none."""
    settings = image_settings(config)
    wanted = _wanted(config.model) if settings else {}
    values = [f"{key} {str(value).replace(',', '')}" for key, value in settings.items() if value == wanted[key]]
    if not values:
        return None
    timm = config.model.name == "timm"
    origin = f"as timm has it for {config.model.arch}" if timm else "ImageNet's defaults"
    return f"preprocessing, {origin}: {', '.join(values)}"


def _wanted(model: Any) -> dict[str, Any]:
    if model.name != "timm":
        return USUAL
    import timm

    try:
        known = timm.get_pretrained_cfg(model.arch)
    except RuntimeError:  # no such weights; a later check names those that exist
        known = None
    if known is None:
        return USUAL
    found: dict[str, Any] = {"size": max(known.input_size[1:]), "crop_share": min(1.0, known.crop_pct)}
    if len(known.mean) == len(known.std) == 3:
        found |= {"mean": [float(m) for m in known.mean], "std": [float(s) for s in known.std]}
    if known.interpolation in ("bilinear", "bicubic"):
        found["interpolation"] = known.interpolation
    return USUAL | found
