"""`ast-tune`: searches for good settings with Optuna; every trial is a run of `ast-train`."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ast_experiments.cli.main import EXIT_FAILED, begin, completed, guarded, parser_of
from ast_experiments.core.errors import ConfigError
from ast_experiments.core.owner import owned

if TYPE_CHECKING:
    from ast_experiments.experiments.tuning.search import Search

ROOT = Path("outputs") / "tune"
OWN = ("trials", "goal", "prune", "name", "parallel")
TRIALS, GOAL = 30, "final_accuracy"

DESCRIPTION = """\
Search for settings: each trial is a run of ast-train with values that Optuna
draws from the results so far (TPE). A stopped search resumes. At the end it
prints a table of trials, and the best one as a command to type."""

EXAMPLES = f"""\
  ast-tune recipe.lr=1e-4..1e-1:log method.rate=0.2..0.6 trials=20
  ast-tune experiment=cifar10_stale controller.kp=0.01..10:log \\
      controller.ki=0.004..4:log goal=control.rms_error:min
  ast-tune method.rate=0.1..0.9 significance=loss,loss_entropy \\
      goal=final_accuracy,compute_savings
  ast-tune {ROOT}/NAME   continue; the same command again does so too

  KEY=LOW..HIGH        a range of numbers, both ends included; whole numbers if
                       the setting is one
  KEY=LOW..HIGH:log    the same on a logarithmic scale
  KEY=A,B,C            values, or choices of a group

  trials=30            how many, including failed and pruned ones; you can ask
                       for more later
  goal={GOAL}  a figure of result.json, KEY, KEY:max or KEY:min; two
                       with a comma search for trade-offs
  prune=true           end a trial early if its validation curve is below the
                       median of the trials so far
  parallel=2           run several trials at once, in processes on this machine
  name=NAME            directory below {ROOT}; default: made from the
                       settings

All other arguments are those of ast-train and hold for every trial; `seed` also
seeds the search."""


def main() -> None:
    """Entry point of `ast-tune`."""
    raise SystemExit(guarded(_main))


def _main() -> int:
    if completed():
        return 0
    parser = parser_of("ast-tune", DESCRIPTION, EXAMPLES)
    parser.add_argument("arguments", nargs="*", metavar="KEY=VALUE | SEARCH_DIR")
    arguments = parser.parse_intermixed_args().arguments
    if not arguments:
        parser.print_help()
        return 0
    if importlib.util.find_spec("optuna") is None:
        raise ConfigError("ast-tune needs Optuna, which is not installed; type uv sync --inexact --extra tune")
    begin()
    search, folder = asked(arguments)
    at_once = _at_once(arguments)
    from ast_experiments.core import distributed
    from ast_experiments.experiments.pool import wait_for_workers
    from ast_experiments.experiments.tuning.parallel import run_trials
    from ast_experiments.experiments.tuning.report import conclude, write_files
    from ast_experiments.experiments.tuning.search import SearchSession
    from ast_experiments.experiments.tuning.space import check_space, parse_space
    from ast_experiments.runs.build import build_dataset

    if distributed.launched():
        raise ConfigError("ast-tune runs in one process; type ast-tune without torchrun")
    typed, common = parse_space(search.arguments)
    space = check_space(typed, common)
    with owned(folder):
        wait_for_workers(folder)
        session = SearchSession(search, folder, common, space)
        build_dataset(session.base)
        search.write(folder)
        print(f"{search.name}: {session.remaining} of {search.trials} trials left, in {folder}", flush=True)
        try:
            for _ in run_trials(session, at_once) if at_once > 1 else session.run():
                write_files(session)
        finally:
            conclude(session)
    return 0 if session.study.best_trials else EXIT_FAILED


def asked(arguments: Sequence[str]) -> tuple[Search, Path]:
    """Returns the search that a command line asks for, and its directory; writes nothing.

    Raises:
        ConfigError: If an argument is wrong, or contradicts the existing search of that name.
    """
    from ast_experiments.experiments.directory import check_name, default_name
    from ast_experiments.experiments.tuning.objectives import parse_objectives
    from ast_experiments.experiments.tuning.search import REQUEST, Search, read_search
    from ast_experiments.experiments.tuning.space import parse_space

    given = {key: value for key, found, value in (a.partition("=") for a in arguments) if found and key in OWN}
    rest = [argument for argument in arguments if argument.partition("=")[0] not in OWN]
    folders = [Path(a) for a in rest if "=" not in a and not a.startswith("~")]
    before = read_search(folders[0]) if len(folders) == 1 else None
    if folders and (before is None or len(rest) > 1):
        stray = next((folder for folder in folders if read_search(folder) is None), folders[0])
        raise ConfigError(f"{stray}: expected KEY=VALUE, or only the directory of a search (with a {REQUEST})")
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
        raise ConfigError(f"name={before.name}: that search is {was}; type another name=")
    return search, folder


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,4}", text):
        raise ConfigError(f"trials={text}: expected a number of trials, such as trials={TRIALS}")
    return int(text)


def _at_once(arguments: Sequence[str]) -> int:
    text = next((a.partition("=")[2] for a in reversed(arguments) if a.startswith("parallel=")), "1")
    if not re.fullmatch(r"[1-9]\d{0,2}", text):
        raise ConfigError(f"parallel={text}: expected how many trials at once, such as parallel=2")
    return int(text)


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ConfigError(f"prune={text}: expected true or false")
    return text == "true"


if __name__ == "__main__":
    main()
