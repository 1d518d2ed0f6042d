"""The transform of a split: built from the settings, then bound to samples on the host or on the training device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from ast_experiments.data.dataset import Images, Samples
from ast_experiments.data.encoded.device_resizer import DeviceResizer
from ast_experiments.data.encoded.images import EncodedImages
from ast_experiments.data.encoded.transforms import EncodedTransform, build_encoded_transforms
from ast_experiments.data.in_memory.transforms import DeviceCropper, PadCropFlip
from ast_experiments.data.loaders.base import to_tensor

TRANSFORM_SETTINGS = (
    "crop_padding", "padding_mode", "horizontal_flip", "crop_scale", "crop_ratio", "crop_share", "interpolation",
    "brightness", "contrast", "saturation", "hue", "grey", "erasing",
)  # fmt: skip
"""Settings of a data set that describe its transforms, without mean and std."""

Transform = PadCropFlip | EncodedTransform

HostTransform = Callable[..., Tensor]
"""Called with `ids` (int64, shape (n,)), `epoch` and earlier `visits` of each sample, shape (n,), or None for one in
every earlier epoch; returns images, uint8, shape (n, h, w, c)."""


class DeviceTransform(Protocol):
    """Makes images from a table on a device. Its random draws can be made for a whole epoch at once."""

    def __call__(self, ids: Tensor, epoch: int, visits: Tensor | None = None) -> Tensor:
        """Makes images; see `HostTransform`."""
        ...

    def plan(self, ids: Tensor, epoch: int, visits: Tensor | None = None) -> tuple[Tensor, ...]:
        """Makes the random draws of n samples; returns tensors of n rows."""
        ...

    def apply(self, first: Tensor, second: Tensor | None = None, /) -> Tensor:
        """Makes images from rows of the tensors that `plan` returned."""
        ...


def build_transforms(settings: Mapping[str, Any]) -> tuple[Transform, Transform]:
    """Builds the transforms of training and validation.

    Args:
        settings: Settings of a data set that are named in `TRANSFORM_SETTINGS`.
    """
    if "crop_padding" in settings:
        return PadCropFlip(
            settings["crop_padding"], settings["horizontal_flip"], settings["padding_mode"]
        ), PadCropFlip()
    return build_encoded_transforms(**settings)


def host_transform(samples: Samples, transform: Transform, seed: int) -> HostTransform:
    """Binds a transform to samples in host memory.

    Raises:
        TypeError: If the transform does not fit the samples.
    """
    if isinstance(samples, EncodedImages) and not isinstance(transform, PadCropFlip):
        return partial(transform.load, samples, seed=seed)
    return device_transform(samples, transform, seed, torch.device("cpu"))


def device_transform(samples: Samples, transform: Transform, seed: int, device: torch.device) -> DeviceTransform:
    """Binds a transform to samples, whose pixels are copied to a device.

    Raises:
        TypeError: If the transform does not fit the samples, or encoded images are not decoded in memory.
    """
    if isinstance(samples, Images) and isinstance(transform, PadCropFlip):
        return DeviceCropper(to_tensor(samples.images).to(device), transform, seed)
    if isinstance(samples, EncodedImages) and samples.table is not None and not isinstance(transform, PadCropFlip):
        pixels, rows = samples.table.pixels.to(device), to_tensor(samples.table.rows).to(device)
        return DeviceResizer(pixels, rows, transform, samples.size, seed)
    raise TypeError(f"{type(transform).__name__} does not transform these {type(samples).__name__}")
