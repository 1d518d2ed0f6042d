"""Finds the function that builds a network by the name of its choice.

A choice `mlp` is the function `mlp` of the module `ast_experiments.models.mlp`, unless `OTHERS` names another function.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

OTHERS = {
    "resnet18_cifar": "cifar_resnet:cifar_resnet",
    "resnet34_cifar": "cifar_resnet:cifar_resnet",
    "resnet50_cifar": "cifar_resnet:cifar_resnet",
    "timm": "timm:timm_model",
}
"""Choices that are not named like their function."""


def place(name: str) -> str:
    """Returns where a network is built, `module:function`."""
    return f"ast_experiments.models.{OTHERS.get(name, f'{name}:{name}')}"


def builder(name: str) -> Callable[..., Any]:
    """Imports the function that builds a network.

    It is called with classes, channels and size of the images; its other arguments are settings.
    """
    module, _, function = place(name).partition(":")
    return getattr(importlib.import_module(module), function)
