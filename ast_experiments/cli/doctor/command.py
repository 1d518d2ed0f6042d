"""`ast-doctor`: checks whether a run will work on this machine, and how long it will take."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ast_experiments.cli.doctor.pilot import pilot_findings, split_pilot
from ast_experiments.cli.main import EXIT_FAILED, begin, completed, guarded, parser_of
from ast_experiments.config.checks import check
from ast_experiments.config.compose import load_config
from ast_experiments.config.schema import Config
from ast_experiments.core.errors import DataError, UserError

if TYPE_CHECKING:
    from ast_experiments.data.dataset import Dataset

DESCRIPTION = """\
Check the data, the device, the disk and the duration of a run before it starts.
Takes the overrides of ast-train. With pilot=true, train for at most a tenth of
the run and say whether choosing samples will pay, and what to type. The exit
code is 1 if something is wrong."""

EXAMPLES = """\
  ast-doctor dataset=imagenette            layout, every image, free disk space,
                                           hours
  ast-doctor experiment=cifar10_stale      the same for an experiment
  ast-doctor --quick dataset=imagenet100   without reading images and timing
  ast-doctor dataset=cifar10 pilot=true    will choosing samples pay here?
  ast-doctor dataset=cifar10 pilot=0.05    the same, with at most 5 % of the run"""

SHOWN = 10


def main() -> None:
    """Entry point of `ast-doctor`."""
    raise SystemExit(guarded(_main))


def _main() -> int:
    if completed():
        return 0
    parser = parser_of("ast-doctor", DESCRIPTION, EXAMPLES)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides, as for ast-train")
    parser.add_argument("--quick", action="store_true", help="do not read images, do not time the training")
    parser.add_argument("--all", action="store_true", help=f"show more than {SHOWN} findings of a kind")
    args = parser.parse_intermixed_args()
    begin()
    overrides, share = split_pilot(args.overrides)
    config = load_config(overrides)
    most = sys.maxsize if args.all else SHOWN
    return EXIT_FAILED if report(config, overrides, quick=args.quick, most=most, pilot=share) else 0


def report(config: Config, overrides: Sequence[str], *, quick: bool, most: int, pilot: float | None = None) -> int:
    """Checks everything and prints each finding at once.

    Args:
        config: Config of the run; its device may be missing.
        overrides: As typed.
        quick: Whether to skip reading images and timing.
        most: Largest number of findings of one kind to print.
        pilot: Largest share of the run that a pilot takes in place of the timing; None for no pilot.

    Returns:
        Number of faults.
    """
    from ast_experiments.cli.doctor.data import Finding, data_findings
    from ast_experiments.cli.doctor.machine import device_findings, disk_findings, time_findings

    def settings() -> Iterable[Finding]:
        try:
            check(config)
        except UserError as error:
            yield Finding("wrong", "settings", str(error))

    wrong = 0
    counts: dict[str, int] = {}
    loaded: list[Dataset] = []
    data = data_findings(config, quick, loaded.append)
    sections = [settings(), device_findings(), data, disk_findings(config, Path.cwd())]
    for section in sections:
        wrong += _print(section, counts, most)
    if quick and pilot is None:
        return wrong
    if wrong:
        missing = "time: not estimated" if pilot is None else "pilot: not run"
        print(f"note   {missing}, because something is wrong", flush=True)
        return wrong
    if pilot is not None:
        return _print(pilot_findings(overrides, config, pilot, *loaded), counts, most)
    try:
        return _print(time_findings(config), counts, most)
    except DataError as error:
        return _print([Finding("wrong", "data", str(error))], counts, most)


def _print(findings: Iterable, counts: dict[str, int], most: int) -> int:
    wrong = 0
    for finding in findings:
        if isinstance(finding, str):
            print(finding, flush=True)
            continue
        wrong += finding.level == "wrong"
        counts[finding.subject] = counts.get(finding.subject, 0) + 1
        if counts[finding.subject] <= most:
            print(f"{finding.level:6} {finding.subject}: {finding.text}", flush=True)
    for subject, count in counts.items():
        if count > most:
            print(f"       {subject}: and {count - most} more; type --all to see them", flush=True)
            counts[subject] = 0
    return wrong


if __name__ == "__main__":
    main()
