"""Finds the function that loads a data set by the name of its choice.

A choice `parity` is the function `load_parity` of the module `ast_experiments.data.in_memory.parity`, or of
`ast_experiments.data.encoded.parity`, unless `OTHERS` names another module. The room decides on the transforms: images
in memory are padded, cropped and flipped; encoded images are cropped, resized, flipped and changed in colour.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ast_experiments.core.errors import ConfigError

OTHERS = {
    "digits": "in_memory.load",
    "cifar10": "in_memory.load",
    "cifar100": "in_memory.load",
    "imagenette": "encoded.load",
    "imagenet100": "encoded.load",
    "imagenet1k": "encoded.load",
    "folder": "encoded.load",
}
"""Choices whose function is in a module of another name."""


def module_of(name: str) -> str:
    """Returns the module that loads a data set, relative to `ast_experiments.data`."""
    if name in OTHERS:
        return OTHERS[name]
    encoded = f"encoded.{name}"
    return encoded if find_spec(f"ast_experiments.data.{encoded}") else f"in_memory.{name}"


def is_encoded(name: str) -> bool:
    """Returns whether the images of a data set are decoded on demand."""
    return module_of(name).startswith("encoded.")


def place(name: str) -> str:
    """Returns where a data set is loaded, `module:function`."""
    return f"ast_experiments.data.{module_of(name)}:load_{name}"


def loader(name: str) -> Callable[..., Any]:
    """Imports the function that loads a data set; its arguments are settings."""
    module, _, function = place(name).partition(":")
    return getattr(importlib.import_module(module), function)


def check_folder(name: str, root: str | None) -> None:
    """Refuses a folder of images that does not exist, before anything else is loaded.

    Args:
        name: The data set.
        root: Its folder, or `hub:` and a name on the Hugging Face hub; None if it needs none.

    Raises:
        ConfigError: If there is no such folder.
    """
    if root is None or root.startswith("hub:") or not is_encoded(name):
        return
    folder = Path(root).expanduser().absolute()
    if not folder.is_dir():
        raise ConfigError(f"dataset.root: there is no folder {folder}; type dataset.root=FOLDER, or set AST_DATA_DIR")
