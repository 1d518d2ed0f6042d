"""`select`: the selection of a run, from names and keyword arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ast_experiments.api.selection import Selection
from ast_experiments.selection.method import Method


def select(
    method: str | Method = "ast",
    *,
    dataset_size: int,
    batch_size: int,
    epochs: int,
    seed: int = 0,
    controller: str = "pi",
    significance: str = "loss",
    device: torch.device | str = "cpu",
    class_counts: Sequence[int] | None = None,
    **settings: Any,
) -> Selection:
    """Returns the selection of a run: which samples each epoch trains.

    Args:
        method: Name of a method (`ast`, `random`, `rs2`, `infobatch`, ...), `my_package.my_module`, or a `Method`.
        dataset_size: Number of training samples; their ids are 0 .. dataset_size - 1.
        batch_size: Rows of a training batch, on all ranks together.
        epochs: Planned epochs.
        seed: Of all draws.
        controller: Name of a controller, for methods that use one.
        significance: Name of a significance, for methods that use one.
        device: Where the losses are; remembered losses stay there within an epoch.
        class_counts: Training samples by class, if there are classes: with `rate_schedule="auto"`, the default of
            `ast`, the rate falls if some classes are rare. Without them it is constant.
        settings: Settings of the target rate (`rate`, `rate_final`, `rate_schedule`, `warmup_epochs`, `final_epochs`),
            the method, the controller and the significance, as in `conf/`.

    Raises:
        ConfigError: About a setting that is unknown, of the wrong type or out of range.

    Example:
        >>> selection = select("ast", dataset_size=50_000, batch_size=128, epochs=30, rate=0.4)
        >>> loader = DataLoader(selection.wrap(train_set), batch_sampler=selection.batches, num_workers=4)
        >>> for epoch in selection.epochs():
        ...     for ids, (inputs, targets) in loader:
        ...         losses = cross_entropy(model(inputs), targets, reduction="none")
        ...         selection.loss(ids, losses).backward()
    """
    return Selection(
        method,
        dataset_size=dataset_size,
        batch_size=batch_size,
        epochs=epochs,
        seed=seed,
        controller=controller,
        significance=significance,
        device=device,
        class_counts=class_counts,
        **settings,
    )
