"""Batch growth: late epochs train larger batches, in fewer steps."""

from __future__ import annotations

from typing import Any

from ast_experiments.core.errors import ConfigError


def growth_by_epoch(settings: Any, epochs: int) -> tuple[int, ...]:
    """Returns by how much each epoch multiplies the batch size, from the settings `recipe.batch_growth`; none without.

    An epoch has the size that is due at its middle. After Smith et al., "Don't decay the learning rate, increase the
    batch size", ICLR 2018, whose learning rate stays constant meanwhile; here it follows its own schedule.
    """
    if settings is None:
        return ()
    return tuple(settings.factor if (epoch + 0.5) / epochs >= settings.after else 1 for epoch in range(epochs))


def largest_batch(recipe: Any) -> int:
    """Returns the rows of the largest batches that a run trains, from the `recipe` settings."""
    return recipe.batch_size * max(growth_by_epoch(recipe.batch_growth, recipe.epochs), default=1)


def check_growth(recipe: Any, samples: int) -> None:
    """Checks that the batches stay smaller than the training set.

    Raises:
        ConfigError: If they do not.
    """
    rows = largest_batch(recipe)
    if rows > samples and recipe.batch_size <= samples:
        most = samples // recipe.batch_size
        raise ConfigError(
            f"recipe.batch_growth: batches of {rows:,} rows are larger than the {samples:,} training samples; "
            f"type recipe.batch_growth={most} or less, or null"
            if most > 1
            else f"recipe.batch_growth: batches of {recipe.batch_size:,} rows cannot grow with {samples:,} training "
            "samples; type recipe.batch_growth=null"
        )
