"""Builders of the model choices: (classes, channels, size, settings) -> network with random or given weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ast_experiments.errors import ConfigError
from ast_experiments.models.cifar import small_image_stem
from ast_experiments.models.simple_cnn import SimpleCNN


def simple_cnn(classes: int, channels: int, size: int, *, widths: list[int], hidden: int, dropout: float) -> nn.Module:
    """Model `simple_cnn`."""
    if size < 8:
        raise ConfigError(f"model=simple_cnn halves the image three times and needs 8 pixels or more, not {size}")
    first, second, third = widths
    return SimpleCNN(classes, channels, size, widths=(first, second, third), hidden=hidden, dropout=dropout)


def cifar_resnet(
    classes: int, channels: int, size: int, *, arch: str, drop_path: float, width: float = 1.0
) -> nn.Module:
    """Models `resnet18_cifar` and friends: a timm ResNet with a 3x3 stem and no pooling behind it."""
    del size
    import timm

    settings: dict[str, Any] = {"drop_path_rate": drop_path} if drop_path else {}
    if width != 1:
        settings |= _narrow_resnet(width)
    try:
        return small_image_stem(timm.create_model(arch, num_classes=classes, in_chans=channels, **settings))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"model.arch={arch}: {error}; type a ResNet of timm, or model=timm model.arch={arch}"
        ) from error


def timm_model(
    classes: int,
    channels: int,
    size: int,
    *,
    arch: str,
    pretrained: bool,
    checkpoint: str | None,
    drop_rate: float,
    drop_path: float,
) -> nn.Module:
    """Model `timm`: any architecture that timm knows, with a new head.

    Raises:
        ConfigError: If weights were asked for that cannot be had.
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
        if checkpoint is not None:
            _check_weights(arch, checkpoint)
        return timm.create_model(arch, pretrained=pretrained or bool(source), pretrained_cfg_overlay=source, **settings)
    except TypeError as error:
        raise ConfigError(f"model.arch={arch}: {error}; type model.drop_path=0.0") from error
    except (OSError, RuntimeError) as error:
        if not (pretrained or source):
            raise
        raise ConfigError(
            f"model.arch={arch}: pretrained weights could not be loaded ({str(error).splitlines()[0]}); "
            "give a local file with model.checkpoint=FILE, or model.pretrained=false"
        ) from error


def side_model(
    settings: Mapping[str, Any], classes: int, channels: int, size: int, *, width: float, arch: str | None
) -> nn.Module:
    """A smaller network beside the run's own.

    Args:
        settings: Of the run's model, by name.
        classes: Outputs.
        channels: Input channels.
        size: Input height and width in pixels.
        width: Share of the channels that a network of the run's own family keeps, in (0, 1].
        arch: An architecture of timm instead.

    Raises:
        ConfigError: If the run's model cannot be narrowed and no architecture is given.
    """
    import timm

    if arch is not None:
        problem = check_arch(arch)
        if problem:
            raise ConfigError(f"method.proxy_arch: {problem}")
        return timm.create_model(arch, num_classes=classes, in_chans=channels)
    own = settings.get("arch", settings["name"])
    if own == "simple_cnn":
        widths = [max(1, round(width * w)) for w in settings["widths"]]
        hidden = max(1, round(width * settings["hidden"]))
        return simple_cnn(classes, channels, size, widths=widths, hidden=hidden, dropout=settings["dropout"])
    try:
        if settings["name"] == "timm":
            return timm.create_model(own, num_classes=classes, in_chans=channels, **_narrow_resnet(width))
        return cifar_resnet(classes, channels, size, arch=own, drop_path=0.0, width=width)
    except (TypeError, RuntimeError) as error:
        raise ConfigError(
            f"method.proxy_width: {own} has no narrower form; name a small network of timm with method.proxy_arch=NAME"
        ) from error


def _narrow_resnet(width: float) -> dict[str, Any]:
    """Timm's arguments for a ResNet with a share of the channels."""
    return {"channels": tuple(max(1, round(width * c)) for c in (64, 128, 256, 512))}


def _check_weights(arch: str, checkpoint: str) -> None:
    """Refuse what timm only warns of: a file of which not one tensor fits the network."""
    import timm
    from timm.models import load_state_dict

    known = set(timm.create_model(arch).state_dict())
    if not known & set(load_state_dict(checkpoint)):
        raise ConfigError(f"model.checkpoint={checkpoint}: holds no weights of {arch}; name the file of that network")


def check_arch(arch: str) -> str | None:
    """None if timm knows the architecture, else a line that names the nearest ones."""
    import difflib

    import timm

    base = arch.partition(".")[0]
    if timm.is_model(base):
        return None
    nearest = difflib.get_close_matches(base, timm.list_models(), n=3, cutoff=0.4)
    return f"timm has no model '{arch}'" + (f"; nearest: {', '.join(nearest)}" if nearest else "")
