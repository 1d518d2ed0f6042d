"""The choice between a loader on the training device and one on the host."""

from __future__ import annotations

from typing import Unpack

import torch

from ast_experiments.core.errors import ConfigError
from ast_experiments.data.dataset import Samples
from ast_experiments.data.encoded.images import EncodedImages
from ast_experiments.data.encoded.transforms import ColorJitter
from ast_experiments.data.in_memory.transforms import PadCropFlip
from ast_experiments.data.loaders.device import DeviceLoader
from ast_experiments.data.loaders.host import HostLoader
from ast_experiments.data.loaders.normalise import Preparation
from ast_experiments.data.loaders.transforms import Transform

_MEMORY_SHARE = 4


def build_loader(
    samples: Samples,
    *,
    device: torch.device | str,
    on_device: bool | None = None,
    workers: int = 0,
    **how: Unpack[Preparation],
) -> DeviceLoader | HostLoader:
    """Builds the loader that fits the samples and the device.

    Args:
        samples: Samples that the ids refer to.
        device: The training device.
        on_device: Whether to keep images on the training device; None decides, see `keep_on_device`.
        workers: Worker processes if images are kept on the host.
        how: As in `Preparation`.

    Raises:
        ConfigError: If images are wanted on a device and cannot be kept there.
    """
    target = torch.device(device)
    if keep_on_device(samples, how["transform"], target, on_device):
        return DeviceLoader(samples, target, **how)
    return HostLoader(samples, target, workers=workers, **how)


def keep_on_device(samples: Samples, transform: Transform, device: torch.device, wanted: bool | None) -> bool:
    """Decides whether images are kept on the training device.

    Args:
        samples: The samples.
        transform: Transform of the split.
        device: The training device.
        wanted: The user's setting. None keeps images on a GPU if they fill less than a quarter of its free memory; if
            the device shares the memory of the host, only small images are kept there, because workers are faster for
            encoded ones.

    Raises:
        ConfigError: If images are wanted on the device and cannot be kept there.
    """
    encoded = isinstance(samples, EncodedImages)
    if encoded and (samples.table is None or getattr(transform, "colour", ColorJitter()) != ColorJitter()):
        if wanted:
            raise ConfigError(
                "hardware.data_on_device: encoded images can be kept there only as squares of one size and without "
                "changes of colour; type dataset.stored_size=160 or so, or hardware.data_on_device=null"
            )
        return False
    if wanted is not None or device.type != "cuda":
        return not encoded if wanted is None else wanted
    needed = samples.decoded_bytes if encoded else padded_bytes(samples, transform)
    return needed * _MEMORY_SHARE < torch.cuda.mem_get_info(device)[0]


def padded_bytes(samples: Samples, transform: Transform) -> int:
    """Returns the bytes of a table of padded images and their labels."""
    height, width, channels = samples.shape
    extra = 2 * transform.padding if isinstance(transform, PadCropFlip) else 0
    return len(samples) * ((height + extra) * (width + extra) * channels + samples.labels.itemsize)
