"""What a config leaves to the model: size, normalisation and scaling of the pictures."""

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
"""Settings of photographs that may be left to the model, and what they are where it says nothing."""


def resolved(config: Config) -> Config:
    """The config with what it leaves to the model filled in; one that leaves nothing is returned as it is.

    Timm keeps with every architecture, random weights or not, how the pictures of its default weights were made.
    """
    dataset = config.dataset
    left = [key for key in USUAL if isinstance(dataset, EncodedConfig) and getattr(dataset, key) is None]
    if not left:
        return config
    wanted = USUAL | (_of_timm(config.model.arch) if config.model.name == "timm" else {})
    return dataclasses.replace(config, dataset=dataclasses.replace(dataset, **{key: wanted[key] for key in left}))


def pictures(config: Config) -> dict[str, Any]:
    """How the pictures of a resolved config are made, for the record; nothing for images in memory."""
    return {key: getattr(config.dataset, key) for key in USUAL if isinstance(config.dataset, EncodedConfig)}


def told(before: Config, after: Config) -> str | None:
    """A line about what the model decided; None if that was nothing."""
    left = [key for key in pictures(before) if getattr(before.dataset, key) is None]
    if not left:
        return None
    values = ", ".join(f"{key} {str(getattr(after.dataset, key)).replace(',', '')}" for key in left)
    whose = f"as timm has them for {after.model.arch}" if after.model.name == "timm" else "the usual ones of ImageNet"
    return f"pictures, {whose}: {values}"


def _of_timm(arch: str) -> dict[str, Any]:
    import timm

    known = timm.get_pretrained_cfg(arch)
    if known is None:
        return {}
    said: dict[str, Any] = {"size": max(known.input_size[1:]), "crop_share": min(1.0, known.crop_pct)}
    if len(known.mean) == len(known.std) == 3:
        said |= {"mean": [float(m) for m in known.mean], "std": [float(s) for s in known.std]}
    if known.interpolation in ("bilinear", "bicubic"):
        said["interpolation"] = known.interpolation
    return said
