"""Progressive resizing: early epochs train on smaller images."""

from __future__ import annotations

from typing import Any


def size_of_epoch(
    progress: float,
    full: int,
    *,
    initial_scale: float,
    delay_fraction: float,
    finetune_fraction: float,
    size_increment: int,
) -> int:
    """Returns the height and width in pixels at which an epoch trains.

    Args:
        progress: Share of the run at the middle of the epoch, in (0, 1).
        full: Height and width of the images in pixels.
        initial_scale: Share of `full` at which the run begins, in (0, 1).
        delay_fraction: Share of the run before the size grows.
        finetune_fraction: Share of the run, at its end, at full size. The size grows linearly in between.
        size_increment: Sizes below `full` are multiples of it.
    """
    if progress >= 1 - finetune_fraction:
        return full
    growing = 1 - delay_fraction - finetune_fraction
    grown = (progress - delay_fraction) / growing if progress > delay_fraction else 0.0
    scale = initial_scale + (1 - initial_scale) * grown
    return min(full, max(1, int(full * scale / size_increment + 0.5)) * size_increment)


def sizes_by_epoch(settings: Any, epochs: int, full: int) -> tuple[int, ...]:
    """Returns the size in pixels of each epoch from the settings `recipe.progressive_resizing`; none without them.

    An epoch has the size that is due at its middle.
    """
    if settings is None:
        return ()
    return tuple(
        size_of_epoch(
            (epoch + 0.5) / epochs,
            full,
            initial_scale=settings.initial_scale,
            delay_fraction=settings.delay_fraction,
            finetune_fraction=settings.finetune_fraction,
            size_increment=settings.size_increment,
        )
        for epoch in range(epochs)
    )
