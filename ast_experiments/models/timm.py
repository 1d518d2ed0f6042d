"""Networks of timm, with weights from the hub or from a file."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ast_experiments.core.errors import ConfigError
from ast_experiments.core.ranges import DropRate

LARGE_HEAD = 3.0
"""Largest weight of a new head, in units of 1 / sqrt(inputs), from which it is drawn again."""


def timm_model(
    classes: int,
    channels: int,
    size: int,
    *,
    arch: str,
    pretrained: bool,
    checkpoint: str | None,
    drop_rate: DropRate,
    drop_path: DropRate,
) -> nn.Module:
    """Builds the model `timm`: any architecture of timm, with a new head.

    Raises:
        ConfigError: If the weights are not available, or a setting does not fit the architecture.
    """
    import timm

    if checkpoint is not None and not Path(checkpoint).is_file():
        raise ConfigError(f"model.checkpoint={checkpoint}: no such file")
    settings: dict[str, Any] = {"num_classes": classes, "in_chans": channels, "drop_rate": drop_rate}
    if drop_path:
        settings["drop_path_rate"] = drop_path
    known = timm.get_pretrained_cfg(arch)
    if known is not None and known.fixed_input_size:
        settings["img_size"] = size
    source = {"file": checkpoint} if checkpoint else None
    try:
        if source is None:
            with _quiet_hub():
                model = timm.create_model(arch, pretrained=pretrained, **settings)
        else:
            model = _with_weights(arch, source, settings)
    except ConfigError:
        raise
    except TypeError as error:
        if source is not None and drop_path == 0:
            raise _no_weights(checkpoint, arch) from error
        raise ConfigError(f"model.arch={arch}: {error}; type model.drop_path=0.0") from error
    except Exception as error:  # a damaged file of weights brings about errors of many kinds
        if source is not None and not isinstance(error, torch.OutOfMemoryError):
            raise _no_weights(checkpoint, arch) from error
        if not pretrained or not isinstance(error, OSError | RuntimeError):
            raise
        raise ConfigError(
            f"model.arch={arch}: pretrained weights could not be loaded ({str(error).splitlines()[0]}); "
            "give a local file with model.checkpoint=FILE, or model.pretrained=false"
        ) from error
    given: Any = model.pretrained_cfg
    if (pretrained or source is not None) and given.get("num_classes") != classes:
        calm_head(model)
    return model


@contextmanager
def _quiet_hub() -> Iterator[None]:
    """Keeps the warnings of the hub's client off the terminal, one for each attempt to connect; train.log has them."""
    loggers = [logging.getLogger(name) for name in ("huggingface_hub", "urllib3")]
    before = [each.handlers for each in loggers]
    for each in loggers:
        each.handlers = [logging.NullHandler()]  # without any handler, logging itself would write to the terminal
    try:
        yield
    finally:
        for each, handlers in zip(loggers, before, strict=True):
            each.handlers = handlers


def calm_head(model: Any) -> None:
    """Draws the weights of a new head again, from torch's usual range, if timm drew them from a far larger one.

    EfficientNets draw them from ±1 / sqrt(classes). On pretrained features, a head for three classes then starts at
    logits of ten and more, and the first steps of fine-tuning unlearn the features.
    """
    head = model.get_classifier()
    if isinstance(head, nn.Linear) and head.weight.abs().max() > LARGE_HEAD / math.sqrt(head.in_features):
        head.reset_parameters()


def _no_weights(checkpoint: str | None, arch: str) -> ConfigError:
    return ConfigError(
        f"model.checkpoint={checkpoint}: holds no weights that {arch} can load; name a file of that network "
        "(.safetensors, .pt, .pth)"
    )


def unseen_pixels(model: nn.Module, size: int) -> str | None:
    """Returns a line about the edge of images that a network of patches does not see; None if it sees all.

    Args:
        model: The network.
        size: Height and width of the images in pixels.
    """
    embed: Any = getattr(model, "patch_embed", None)
    patch = getattr(embed, "patch_size", None)
    side = patch[0] if isinstance(patch, tuple | list) and patch else patch
    if not isinstance(side, int) or side < 1 or getattr(embed, "dynamic_img_pad", False) or not size % side:
        return None
    fits = " or ".join(f"dataset.size={each}" for each in (size - size % side, size - size % side + side) if each)
    return f"patches of {side} pixels leave {size % side} of {size} pixels unseen on each axis; type {fits}"


def check_arch(arch: str) -> str | None:
    """Checks that timm has an architecture, and the weights if the name has a tag.

    Returns:
        None if it has, otherwise a line that names the nearest ones.
    """
    import difflib

    import timm

    base, _, tag = arch.partition(".")
    if timm.is_model(base):
        tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{base}.*")] if tag else []
        return None if tag in (*tags, "") else f"timm has no weights '{tag}' of {base}; there are: {', '.join(tags)}"
    nearest = difflib.get_close_matches(base, timm.list_models(), n=3, cutoff=0.4)
    return f"timm has no model '{arch}'" + (f"; nearest: {', '.join(nearest)}" if nearest else "")


def _with_weights(arch: str, source: dict[str, str], settings: dict[str, Any]) -> nn.Module:
    """Builds a network with the weights in a file, which timm reads in several layouts.

    Timm only warns about the file of another network; here it is an error. Such a file leaves most weights at their
    random initial values.
    """
    import timm

    random = torch.get_rng_state()
    drawn = timm.create_model(arch, **settings)
    torch.set_rng_state(random)
    model: Any = timm.create_model(arch, pretrained=True, pretrained_cfg_overlay=source, **settings)
    heads = model.pretrained_cfg.get("classifier") or ()
    heads = tuple(f"{head}." for head in ((heads,) if isinstance(heads, str) else heads))
    given = kept = 0
    for (name, before), after in zip(drawn.named_parameters(), model.parameters(), strict=True):
        if not name.startswith(heads) and (before != before.flatten()[0]).any():
            same = torch.equal(before, after)
            given, kept = given + (not same) * after.numel(), kept + same * after.numel()
    if given < kept:
        raise ConfigError(
            f"model.checkpoint={source['file']}: holds {given / (given + kept):.0%} of the weights of {arch}; "
            "name the file of that network"
        )
    return model
