"""`ast-tune`: search for settings, by Optuna, through the same configs as `ast-train`."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path

from ast_experiments.cli.main import EXIT_FAILED, guarded
from ast_experiments.core.errors import ConfigError
from ast_experiments.core.files import exclusive_lock
from ast_experiments.experiments.names import check_name, default_name
from ast_experiments.experiments.tuning.objectives import parse_objectives
from ast_experiments.experiments.tuning.search import REQUEST, Search, SearchSession, read_search
from ast_experiments.experiments.tuning.space import check_space, parse_space

ROOT = Path("outputs") / "tune"
OWN = ("trials", "goal", "prune", "name")
TRIALS, GOAL = 30, "final_accuracy"
BUSY = "another ast-tune works on {folder}; wait until it ends, or type another name="

DESCRIPTION = """\
Search for settings: each trial is a run of ast-train whose values Optuna chose after the trials before it (TPE).
It goes on where it was stopped, and ends with the trials in a table and the best of them as a command to type."""

EXAMPLES = f"""\
  ast-tune experiment=quickstart recipe.lr=1e-4..1e-1:log method.rate=0.2..0.6 trials=20
  ast-tune experiment=cifar10_stale controller.kp=0.01..10:log controller.ki=0.004..4:log goal=control.rms_error:min
  ast-tune method.rate=0.1..0.9 significance=loss,loss_entropy goal=final_accuracy,compute_savings
  ast-tune {ROOT}/NAME                go on; the same command line goes on too

  KEY=LOW..HIGH        numbers in a range, both ends included; whole numbers if the setting is one
  KEY=LOW..HIGH:log    the same, all orders of magnitude alike
  KEY=A,B,C            values, or choices of a group

  trials=30            how many, failed and pruned ones included; more of them can be asked for later
  goal={GOAL}  a figure of result.json, KEY, KEY:max or KEY:min; two of them with a comma find what lies between
  prune=true           end trials early whose validation curve lies below the median of the trials before
  name=NAME            of the directory below {ROOT}; default: made from the settings

All else is as for ast-train and holds for every trial; `seed` is also that of the search."""


def main() -> None:
    """Entry point of `ast-tune`."""
    raise SystemExit(guarded(_main))


def _main() -> int:
    parser = argparse.ArgumentParser(
        prog="ast-tune",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("arguments", nargs="*", metavar="KEY=VALUE | SEARCH_DIR")
    arguments = parser.parse_args().arguments
    if not arguments:
        parser.print_help()
        return 0
    if importlib.util.find_spec("optuna") is None:
        raise ConfigError("ast-tune needs Optuna, which is not installed; type uv sync --inexact --extra tune")
    search, folder = asked(arguments)
    from ast_experiments.core import distributed
    from ast_experiments.experiments.tuning.report import conclude, write_files
    from ast_experiments.runs.build import build_dataset

    if distributed.launched():
        raise ConfigError("ast-tune is one process, and torchrun starts several; type ast-tune without torchrun")
    typed, common = parse_space(search.arguments)
    space = check_space(typed, common)
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(folder / ".lock", BUSY.format(folder=folder)):
        session = SearchSession(search, folder, common, space)
        build_dataset(session.base)
        search.write(folder)
        print(f"{search.name}: {session.remaining} of {search.trials} trials to make, in {folder}", flush=True)
        try:
            for _ in session.run():
                write_files(session)
        finally:
            conclude(session)
    return 0 if session.study.best_trials else EXIT_FAILED


def asked(arguments: Sequence[str]) -> tuple[Search, Path]:
    """The search that a command line asks for, and its directory; nothing is written.

    Raises:
        ConfigError: If something in it is wrong, or does not agree with the search of that name.
    """
    given = {key: value for key, found, value in (a.partition("=") for a in arguments) if found and key in OWN}
    rest = [argument for argument in arguments if argument.partition("=")[0] not in OWN]
    folders = [Path(a) for a in rest if "=" not in a and not a.startswith("~")]
    before = read_search(folders[0]) if len(folders) == 1 else None
    if folders and (before is None or len(rest) > 1):
        stray = next((folder for folder in folders if read_search(folder) is None), folders[0])
        raise ConfigError(f"{stray}: expected KEY=VALUE, or nothing but a search's directory (with a {REQUEST})")
    if before is None:
        parse_space(rest)
        goals = parse_objectives(given.get("goal", GOAL))
        told = [*sorted(rest), *map(str, goals)]
        name = check_name(given.get("name", default_name(told)))
        search = Search(name, tuple(rest), goals, TRIALS, prune=True)
        folder = ROOT / name
        before = read_search(folder)
    else:
        search, folder = before, folders[0]
    search = dataclasses.replace(
        search,
        goals=parse_objectives(given["goal"]) if "goal" in given else search.goals,
        trials=_count(given["trials"]) if "trials" in given else (before or search).trials,
        prune=_flag(given["prune"]) if "prune" in given else (before or search).prune,
    )
    if before is not None and (sorted(before.arguments), before.goals) != (sorted(search.arguments), search.goals):
        was = " ".join([*before.arguments, "goal=" + ",".join(map(str, before.goals))])
        raise ConfigError(f"name={before.name}: that search is {was}; give another name=")
    return search, folder


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,4}", text):
        raise ConfigError(f"trials={text}: expected a number of trials, such as trials={TRIALS}")
    return int(text)


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ConfigError(f"prune={text}: expected true or false")
    return text == "true"


if __name__ == "__main__":
    main()
