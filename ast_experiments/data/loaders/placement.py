"""From samples to pictures, whatever the samples: which way they go, and what the training device does last."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ast_experiments.core.errors import ConfigError
from ast_experiments.data.dataset import Images
from ast_experiments.data.encoded.device_resize import Squares
from ast_experiments.data.encoded.images import Photos
from ast_experiments.data.encoded.transforms import Colour, View, build_photo_views, erase
from ast_experiments.data.in_memory.augment import Augment, Crops, Normalise

VIEW_SETTINGS = (
    "crop_padding", "padding_mode", "horizontal_flip", "crop_scale", "crop_ratio", "crop_share", "interpolation",
    "brightness", "contrast", "saturation", "hue", "grey", "erasing",
)  # fmt: skip
"""Settings of a data set that are about the pictures' way to the network, beside mean and std."""

_MEMORY_SHARE = 4

Make = Callable[..., Tensor]
"""Called with `ids` (int64, shape (n,)) and `epoch`; returns pictures, uint8, shape (n, h, w, c)."""


class Maker(Protocol):
    """Makes pictures of a table on a device. What is random about them may be drawn for a whole epoch at once."""

    def __call__(self, ids: Tensor, epoch: int) -> Tensor:
        """Makes pictures; see `Make`."""
        ...

    def plan(self, ids: Tensor, epoch: int) -> tuple[Tensor, ...]:
        """Draws what is random about the pictures of `ids`; tensors of n rows."""
        ...

    def make(self, first: Tensor, second: Tensor | None = None, /) -> Tensor:
        """Makes pictures from rows of what `plan` returned."""
        ...


def build_views(settings: Mapping[str, Any]) -> tuple[Augment | View, Augment | View]:
    """Returns how pictures are made for training and for validation.

    Args:
        settings: Those of a data set that are named in `VIEW_SETTINGS`.
    """
    if "crop_padding" in settings:
        return Augment(settings["crop_padding"], settings["horizontal_flip"], settings["padding_mode"]), Augment()
    return build_photo_views(**settings)


def host_maker(samples: Images | Photos, augment: Augment | View, seed: int) -> Make:
    """Returns what makes pictures in host memory.

    Raises:
        TypeError: When such samples and augmentation do not go together.
    """
    if isinstance(samples, Photos) and not isinstance(augment, Augment):
        return partial(augment.pictures, samples, seed=seed)
    return device_maker(samples, augment, seed, torch.device("cpu"))


def device_maker(samples: Images | Photos, augment: Augment | View, seed: int, device: torch.device) -> Maker:
    """Returns what makes pictures on a device, from a table there.

    Raises:
        TypeError: When such samples and augmentation do not go together, or photographs have no table.
    """
    if isinstance(samples, Images) and isinstance(augment, Augment):
        return Crops(to_tensor(samples.images).to(device), augment, seed)
    if isinstance(samples, Photos) and samples.table is not None and not isinstance(augment, Augment):
        table, rows = samples.table.pixels.to(device), to_tensor(samples.table.rows).to(device)
        return Squares(table, rows, augment, samples.size, seed)
    raise TypeError(f"{type(augment).__name__} makes no pictures of these {type(samples).__name__}")


def keep_on_device(
    samples: Images | Photos, augment: Augment | View, device: torch.device, wanted: bool | None
) -> bool:
    """Decides whether samples are kept on the training device.

    Args:
        samples: The samples.
        augment: How pictures vary.
        device: The training device.
        wanted: What was asked for. None takes the device where they fill less than a quarter of a GPU's free memory,
            and small images also where the device has the memory of the host; photographs are quicker with workers
            there.

    Raises:
        ConfigError: When they are wanted there and cannot be kept there.
    """
    photos = isinstance(samples, Photos)
    if photos and (samples.table is None or getattr(augment, "colour", Colour()) != Colour()):
        if wanted:
            raise ConfigError(
                "hardware.data_on_device: photographs can be kept there as squares of one size, without changes of "
                "colour; type dataset.stored_size=160 or so, or hardware.data_on_device=null"
            )
        return False
    if wanted is not None or device.type != "cuda":
        return not photos if wanted is None else wanted
    needed = samples.table_bytes if photos else table_bytes(samples, augment)
    return needed * _MEMORY_SHARE < torch.cuda.mem_get_info(device)[0]


def table_bytes(images: Images, augment: Augment | View) -> int:
    """Bytes that a table of padded images and labels takes."""
    height, width, channels = images.shape
    extra = 2 * augment.padding if isinstance(augment, Augment) else 0
    return len(images) * ((height + extra) * (width + extra) * channels + images.labels.itemsize)


class Finish:
    """The last part of every picture's way, on the training device: normalised, perhaps with a part erased.

    Args:
        samples: What the pictures are of.
        mean: Mean of each channel, pixels in 0..1.
        std: Standard deviation of each channel.
        augment: How pictures vary.
        seed: Of the augmentation.
        device: The training device.
    """

    def __init__(
        self,
        samples: Images | Photos,
        mean: Sequence[float],
        std: Sequence[float],
        augment: Augment | View,
        seed: int,
        device: torch.device,
    ) -> None:
        self._normalise = Normalise(mean, std, samples.shape, device)
        self._erasing = 0.0 if isinstance(augment, Augment) else augment.erasing
        self._seed = seed

    def __call__(self, pictures: Tensor, ids: Tensor, epoch: int) -> Tensor:
        """Turns uint8 pictures (n, h, w, c) into float32 (n, c, h, w), channels last in memory."""
        images = self._normalise(pictures)
        return erase(images, ids, self._erasing, self._seed, epoch) if self._erasing else images


def to_tensor(array: np.ndarray) -> Tensor:
    """Shares the array's memory where torch can, and copies where it cannot."""
    array = np.ascontiguousarray(array)
    return torch.from_numpy(array if array.flags.writeable else array.copy())
