"""Where images come from and how they reach the network.

Names are imported on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ast_experiments.data.augment import Augment, Crops, draw
    from ast_experiments.data.images import Dataset, Images
    from ast_experiments.data.loaders import DeviceLoader, HostLoader, Loader, build_loader
    from ast_experiments.data.sources import load_cifar10, load_cifar100, load_digits

__all__ = [
    "Augment",
    "Crops",
    "Dataset",
    "DeviceLoader",
    "HostLoader",
    "Images",
    "Loader",
    "build_loader",
    "draw",
    "load_cifar10",
    "load_cifar100",
    "load_digits",
]

_HOMES = {
    "augment": ("Augment", "Crops", "draw"),
    "images": ("Dataset", "Images"),
    "loaders": ("DeviceLoader", "HostLoader", "Loader", "build_loader"),
    "sources": ("load_cifar10", "load_cifar100", "load_digits"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
