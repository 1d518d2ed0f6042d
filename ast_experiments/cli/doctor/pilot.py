"""`pilot=true`: a short training that says whether choosing samples will pay."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ast_experiments.cli.doctor.data import Finding
from ast_experiments.config.schema import Config
from ast_experiments.core.errors import ConfigError, UserError

if TYPE_CHECKING:
    from ast_experiments.data.dataset import Dataset

KEY, MOST = "pilot", 0.1


def split_pilot(arguments: Sequence[str]) -> tuple[list[str], float | None]:
    """Takes `pilot=...` out of the arguments.

    Returns:
        The other arguments, and the share of the run that the pilot may take; None without a pilot.

    Raises:
        ConfigError: If its value is neither true nor false, nor a share up to 0.1.
    """
    typed = [each for each in arguments if each.partition("=")[0] == KEY]
    rest = [each for each in arguments if each not in typed]
    value = typed[-1].partition("=")[2] if typed else "false"
    if value in ("true", "false"):
        return rest, MOST if value == "true" else None
    share = float(value) if re.fullmatch(r"\d*\.?\d+", value) else 0.0
    if not 0 < share <= MOST:
        raise ConfigError(
            f"{KEY}={value[:60]}: expected true, false, or a share of the run up to {MOST}, as {KEY}=0.05"
        )
    return rest, share


def pilot_findings(
    overrides: Sequence[str], config: Config, share: float, dataset: Dataset | None = None
) -> Iterator[Finding | str]:
    """Trains a pilot and says whether choosing samples will pay.

    Args:
        overrides: As typed.
        config: That they make, checked.
        share: Largest share of the dense run that the pilot trains and scores.
        dataset: The data set; None to load it.

    Yields:
        What was found, then the lines of the answer.
    """
    from ast_experiments.core import distributed
    from ast_experiments.pilot.advice import advise
    from ast_experiments.pilot.cases import measured_cases
    from ast_experiments.pilot.diagnosis import diagnose
    from ast_experiments.pilot.rule import judge
    from ast_experiments.pilot.words import answer, findings

    try:
        if distributed.launched():
            raise ConfigError("a pilot runs in one process; type ast-doctor without torchrun")
        seen = diagnose(overrides, config, share, dataset)
        cases = measured_cases()
    except UserError as error:
        yield Finding("wrong", KEY, str(error).removeprefix(f"{KEY}: "))
        return
    for line in findings(seen):
        yield Finding("note", *line)
    verdict = judge(seen.signs)
    yield ""
    yield from answer(verdict, seen, cases, advise(overrides, config, pays=verdict.pays))
