"""From names and keyword arguments to a method and a rate schedule, with errors in the words of a function call."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from inspect import signature
from typing import Annotated, Any, Optional

from annotated_types import Ge

from ast_experiments.core.errors import ConfigError, UserError
from ast_experiments.core.ranges import Rate
from ast_experiments.core.text import expectation
from ast_experiments.selection.find import BUILT, MISSING, Setting, find, settings_of
from ast_experiments.selection.method import Method
from ast_experiments.selection.rate_schedule import RateSchedule, ScheduleName

RATES: Mapping[str, Any] = {
    "rate": Rate,
    "rate_schedule": ScheduleName | list[Rate],
    "rate_final": Optional[Rate],  # noqa: UP045 - the other form is for classes only
    "warmup_epochs": Annotated[int, Ge(0)],
    "final_epochs": Annotated[int, Ge(0)],
}
"""Settings of every method with a target rate."""


def build(
    method: str | Method, controller: str, significance: str, epochs: int, settings: Mapping[str, Any]
) -> tuple[Method, RateSchedule | None]:
    """Returns a method and the schedule of its target rate; None for a method that sets its own rate.

    Args:
        method: Name of a choice, or a method of your own.
        controller: Name of a choice, for methods that use one.
        significance: Likewise.
        epochs: Planned epochs.
        settings: Settings of the rate, the method, the controller and the significance, by name.

    Raises:
        ConfigError: About a setting that is unknown, of the wrong type or out of range.
    """
    with plain_words():
        target: Any = find("method", method) if isinstance(method, str) else type(method)
        name = method if isinstance(method, str) else type(method).__name__
        given, own = dict(settings), {} if isinstance(method, Method) else dict(settings_of(target))
        choices = {"controller": controller, "significance": significance}
        parts = {} if isinstance(method, Method) else _parts(target, choices, given, taken=own)
        rates = _rates(target, given, own)
        unknown = next((key for key in given if key not in own), None)
        if unknown is not None:
            known = sorted({*own, *(RATES if target.rate is not None else ())})
            near = get_close_matches(unknown, known, n=1)
            nearest = f"; nearest: {near[0]}" if near else ""
            raise ConfigError(f"{unknown}: no such setting of {name}{nearest}; there are: {', '.join(known) or 'none'}")
        built = method if isinstance(method, Method) else target(**parts, **_checked(own, given))
        schedule = None
        if target.rate is not None:
            schedule = RateSchedule(
                rates["rate"],
                rates["rate_final"],
                rates["rate_schedule"],
                rates["warmup_epochs"],
                rates["final_epochs"],
            )
            schedule.check(epochs)
    return built, schedule


def _parts(
    target: Any, choices: Mapping[str, str], given: dict[str, Any], taken: Mapping[str, Setting]
) -> dict[str, Any]:
    """Controller and significance, if the method takes them, with the settings that only they have."""
    parts: dict[str, Any] = {}
    for group in BUILT:
        if group in signature(target).parameters:
            part = find(group, choices[group])
            settings = {key: setting for key, setting in settings_of(part).items() if key not in taken}
            values = {key: given.pop(key) for key in [*given] if key in settings}
            checked = _checked(settings, values)
            parts[group] = part(**checked) if isinstance(part, type) else _bound(part, checked)
    return parts


def _bound(function: Callable[..., Any], settings: Mapping[str, Any]) -> Callable[..., Any]:
    from functools import partial

    return partial(function, **settings) if settings else function


def _rates(target: type[Method], given: dict[str, Any], own: Mapping[str, Setting]) -> dict[str, Any]:
    if target.rate is None:
        return {}
    settings = {key: Setting(kind, None) for key, kind in RATES.items() if key not in own}
    defaults = {
        "rate": target.rate,
        "rate_schedule": target.rate_schedule,
        "rate_final": None,
        "warmup_epochs": target.warmup_epochs,
        "final_epochs": 0,
    }
    if given.get("rate_final") is not None and "rate_schedule" not in given:
        defaults["rate_schedule"] = "linear"
    rates = defaults | _checked(settings, {key: given.pop(key) for key in [*given] if key in settings})
    if (rates["rate_schedule"] in ("linear", "cosine")) != (rates["rate_final"] is not None):
        raise ConfigError(
            "rate_final: goes with rate_schedule='linear' or 'cosine' and only with them; "
            "type e.g. rate=0.6, rate_final=0.2"
        )
    return rates


def _checked(settings: Mapping[str, Setting], values: Mapping[str, Any]) -> dict[str, Any]:
    from pydantic import TypeAdapter, ValidationError

    for key, setting in settings.items():
        if key not in values and setting.default is MISSING:
            raise ConfigError(f"{key}: is missing; type {key}=...")
    for key, value in values.items():
        if key in settings:
            try:
                TypeAdapter(settings[key].type).validate_python(value)
            except ValidationError as error:
                raise ConfigError(f"{key}: {value!r} is wrong; {expectation(error.errors()[0])}") from None
    return dict(values)


@contextmanager
def plain_words() -> Iterator[None]:
    """Turns errors that name settings of the command line into errors that name keyword arguments."""
    try:
        yield
    except UserError as error:
        text = re.sub(r"\b(?:method|controller|significance|recipe)\.(?=\w)", "", str(error))
        raise type(error)(text) from error.__cause__


def check_method(name: str, method: Method) -> None:
    """Refuses a method that needs more than losses of samples: its work is part of the loop of `ast-train`.

    Raises:
        UserError: If it scores loaded batches or learns from predictions.
    """
    own = type(method)
    in_batch = own.select is not Method.select or own.weigh is not Method.weigh
    if in_batch or method.needs_holdout or method.trains_every_row:
        raise UserError(
            f"{name} scores every loaded batch with the network, and only the loop of ast-train does that; "
            "type 'ast', 'infobatch' or another method that chooses before loading"
        )
    if own.observe is not Method.observe:
        raise UserError(
            f"{name} learns from predictions, and this loop hands it losses only; "
            "type 'ast', 'infobatch' or another method that chooses by losses"
        )


def expected_steps(schedule: RateSchedule | None, samples: int, batch_size: int, epochs: int) -> int:
    """Returns the optimiser steps that a rate schedule amounts to; without one, those of dense training."""
    targets = [1.0 if schedule is None else schedule.target(epoch, epochs) for epoch in range(epochs)]
    dense, sparse = sum(target >= 1 for target in targets), sum(target for target in targets if target < 1)
    return dense * -(-samples // batch_size) + int(sparse * samples / batch_size + 1e-6)


def check_class_counts(class_counts: Sequence[int], dataset_size: int) -> None:
    """Checks that class counts are those of the training samples.

    Raises:
        UserError: If they do not add up to as many.
    """
    if min(class_counts, default=-1) < 0 or sum(class_counts) != dataset_size:
        raise UserError(
            f"class_counts: {len(class_counts)} counts with a sum of {sum(class_counts)}; expected the number of "
            f"training samples of each class, {dataset_size} in all"
        )


def check_counts(**counts: int) -> None:
    """Checks that counts are whole numbers of at least 1.

    Raises:
        UserError: About the first that is not.
    """
    for name, count in counts.items():
        if not isinstance(count, int) or count < 1:
            raise UserError(f"{name}: {count!r} is wrong; expected a whole number of at least 1")
