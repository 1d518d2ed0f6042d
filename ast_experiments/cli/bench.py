"""`ast-bench`: runs a study: methods and seeds, and for each method baselines at the same cost."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ast_experiments.cli.main import EXIT_FAILED, begin, completed, guarded, parser_of
from ast_experiments.config.preflight import check_launcher
from ast_experiments.core.errors import ConfigError, DataError
from ast_experiments.core.owner import owned
from ast_experiments.core.text import rough_duration
from ast_experiments.core.yaml_files import read_yaml
from ast_experiments.experiments.directory import check_name, default_name
from ast_experiments.experiments.study.arms import (
    DENSE,
    arm_config,
    check_common,
    parse_baselines,
    parse_methods,
    with_dense,
)
from ast_experiments.experiments.study.engines import split_engine
from ast_experiments.experiments.study.journal import read_journal
from ast_experiments.experiments.study.plan import (
    COSTS,
    PLAN,
    RUNS,
    TRIAL_SEED,
    TRIALS,
    Study,
    StudyPlan,
    extend_plan,
    read_plan,
)

if TYPE_CHECKING:
    from ast_experiments.experiments.study.queue import StudyQueue

ROOT = Path("outputs") / "studies"
MOST_SEED = 2**63 - 1
OWN = ("methods", "baselines", "seeds", "lr_trials", "cost", "name")

DESCRIPTION = """\
Run a study: every method and the dense reference with every seed, in turns, and
for each method baselines at the cost measured for it: shorter dense training,
rs2, and rs2 with the method's own rates. Ends with the comparison of
ast-compare."""

EXAMPLES = f"""\
  ast-bench experiment=cifar10_stale methods=[ast,infobatch,random] seeds=5
  ast-bench 'methods=[ast,ast:rate=0.2,ast:rate=0.2:controller=quantile]'
                                 arms with their own settings
  ast-bench STUDY.yaml           arguments from a file of KEY: VALUE lines
  ast-bench {ROOT}/NAME
                                 continue; the same command again does so too

  methods=[...]    methods to compare; dense is always included
  baselines=[ast]  methods that get baselines of their own, by name or by arm,
                   as in methods=; default: all; []: none; the others are
                   compared with the baselines and uniform methods at hand
  seeds=5          how many, from 0, or a list: [3,4,5]; default: as many as a
                   claim needs on the data set
  lr_trials=3      learning rates to try for each arm, baselines included;
                   default: 0
  cost=flops       unit in which baselines cost the same: joules, seconds,
                   flops, samples; default: joules if they are measured, else
                   FLOPs
  jobs=2           make several runs at once on this machine; or
                   hydra/launcher=joblib, ray or slurm, as in ast-train -m
  name=NAME        directory below {ROOT}; default: made from the
                   settings

All other arguments are those of ast-train and hold for every arm, e.g.
dataset=cifar10 recipe.epochs=10."""


def main() -> None:
    """Entry point of `ast-bench`."""
    raise SystemExit(guarded(_main))


def _main() -> int:
    if completed():
        return 0
    parser = parser_of("ast-bench", DESCRIPTION, EXAMPLES)
    parser.add_argument("arguments", nargs="*", metavar="KEY=VALUE | STUDY.yaml | STUDY_DIR")
    arguments = parser.parse_intermixed_args().arguments
    if not arguments:
        parser.print_help()
        return 0
    begin()
    engine, arguments = split_engine(expanded(arguments))
    plan, folder = planned(arguments)
    engine.check(plan)
    check_launcher(engine.name)
    from ast_experiments.core import distributed
    from ast_experiments.experiments.pool import wait_for_workers
    from ast_experiments.experiments.study.queue import StudyQueue
    from ast_experiments.experiments.study.run import check_study, run_study

    if distributed.launched():
        raise ConfigError("ast-bench runs in one process; type ast-bench without torchrun")
    queue = StudyQueue(plan, folder)
    samples = check_study(queue, engine.remote)
    with owned(folder):
        plan.write(folder)
        print(f"{plan.study.name}: {_summary(plan)}, in {folder}", flush=True)
        for remark in filter(None, (_few_seeds(plan.study), _few_steps(queue, samples))):
            print(remark, flush=True)
        wait_for_workers(folder)
        run_study(queue, engine)
        _compare(plan, folder)
    for run, error in queue.failed.items():
        print(f"{run.title}: {error}", file=sys.stderr)
    if queue.failed:
        print(f"{len(queue.failed)} failed; to repeat them type: ast-bench {folder}", file=sys.stderr)
    return EXIT_FAILED if queue.failed else 0


def expanded(arguments: Sequence[str]) -> list[str]:
    """Replaces each .yaml file among the arguments by its lines; what is typed comes after them, and so wins."""
    files = [argument for argument in arguments if argument.endswith((".yaml", ".yml")) and "=" not in argument]
    return [*(line for file in files for line in _from_file(Path(file))), *(a for a in arguments if a not in files)]


def planned(arguments: Sequence[str]) -> tuple[StudyPlan, Path]:
    """Returns the plan that a command line asks for, and its directory.

    Raises:
        ConfigError: If an argument is wrong, or contradicts the existing study of that name.
    """
    arguments = expanded(arguments)
    typed = [argument for argument in arguments if "=" in argument or argument.startswith("~")]
    others = [argument for argument in arguments if argument not in typed]
    given: dict[str, str] = {}
    before: StudyPlan | None = None
    for other in others:
        if Path(other).is_dir() and (before := read_plan(Path(other))) is not None:
            given["name"] = before.study.name
        else:
            raise ConfigError(f"{other}: expected KEY=VALUE, a .yaml file, or a study's directory (with a {PLAN})")
    common = []
    for argument in typed:
        key, _, value = argument.partition("=")
        if key in OWN:
            given[key] = value
        else:
            common.append(argument)
    folder = Path(others[-1]) if before else ROOT / _name(given, common)
    before = before or read_plan(folder)
    study = _study(given, common, before.study if before else None)
    return (extend_plan(before, study) if before else StudyPlan(study)), folder


def _name(given: dict[str, str], common: Sequence[str]) -> str:
    return check_name(given.setdefault("name", default_name(common)))


def _study(given: dict[str, str], common: Sequence[str], before: Study | None) -> Study:
    """Builds the request; what is not typed stays as in the existing study."""
    check_common(common)
    if before is not None:
        arms = with_dense([*before.arms, *(parse_methods(given["methods"]) if "methods" in given else ())])
        return dataclasses.replace(
            before,
            common=tuple(common) or before.common,
            arms=arms,
            baselines=parse_baselines(given["baselines"], arms) if "baselines" in given else before.baselines,
            seeds=_seeds(given["seeds"]) if "seeds" in given else before.seeds,
            lr_trials=_trials(given["lr_trials"]) if "lr_trials" in given else before.lr_trials,
            cost=_cost(given["cost"]) if "cost" in given else before.cost,
        )
    if "methods" not in given:
        raise ConfigError("methods: is missing; type e.g. methods=[ast,infobatch,random]")
    arms = with_dense(parse_methods(given["methods"]))
    trials, cost = _trials(given.get("lr_trials", "0")), _cost(given.get("cost", "auto"))
    seeds = _seeds(given["seeds"]) if "seeds" in given else _usual_seeds(common)
    baselines = parse_baselines(given["baselines"], arms) if "baselines" in given else None
    return Study(given["name"], tuple(common), arms, seeds, trials, cost, baselines)


def _seeds(text: str) -> tuple[int, ...]:
    if re.fullmatch(r"[1-9]\d{0,3}", text):
        return tuple(range(int(text)))
    if re.fullmatch(r"\[\s*\d{1,19}\s*(,\s*\d{1,19}\s*)*\]", text):
        seeds = tuple(dict.fromkeys(int(seed) for seed in text[1:-1].split(",")))
        if TRIAL_SEED not in seeds and max(seeds) <= MOST_SEED:
            return seeds
    raise ConfigError(f"seeds={text[:60]}: expected a number, such as seeds=5, or a list, such as seeds=[3,4,5]")


def _usual_seeds(common: Sequence[str]) -> tuple[int, ...]:
    return tuple(range(_required_seeds(common)))


def _required_seeds(common: Sequence[str]) -> int:
    from ast_experiments.comparison.comparability import required_seeds

    return required_seeds(arm_config(common, DENSE).dataset.name)


def _few_seeds(study: Study) -> str:
    """Returns a remark on a study whose seeds are too few for a claim; empty for others."""
    required = _required_seeds(study.common)
    if len(study.seeds) >= required:
        return ""
    return (
        f"note: a claim on this data set needs {required} seeds, so the verdicts will be open; stop and type "
        f"seeds={required}, or add seeds later by the same command: finished runs are not repeated"
    )


def _few_steps(queue: StudyQueue, samples: int) -> str:
    """Returns a remark on the first arm that has too few training steps to learn much; empty if all have enough."""
    from ast_experiments.runs.trackers import few_steps

    found = ((arm.label, few_steps(queue.config(arm), samples)) for arm in queue.plan.arms)
    return next((f"note: {label}: {remark}" for label, remark in found if remark), "")


def _trials(text: str) -> int:
    if not re.fullmatch(r"0|[2-9]|[1-9]\d", text):
        raise ConfigError(f"lr_trials={text}: expected 0, or 2 to 99 learning rates to try; type lr_trials=3")
    return int(text)


def _cost(text: str) -> str:
    if text not in COSTS:
        raise ConfigError(f"cost={text}: no such cost; there are: {', '.join(COSTS)}")
    return text


def _from_file(path: Path) -> list[str]:
    """Reads the lines of a study file as arguments."""
    from omegaconf import OmegaConf

    try:
        content = OmegaConf.to_container(read_yaml(path))
    except DataError as error:
        raise ConfigError(str(error)) from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected lines of KEY: VALUE, such as methods: [ast, infobatch]")
    return [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in content.items()]


def _summary(plan: StudyPlan) -> str:
    study = plan.study
    arms = ", ".join(arm.label for arm in study.arms)
    trials = f", {study.lr_trials} learning rates tried for each arm" if study.lr_trials else ""
    baselines = "and baselines at each method's cost"
    if study.baselines is not None:
        own = ", ".join(arm.label for arm in study.with_baselines)
        baselines = f"and baselines at the cost of {own}" if own else "without baselines at their cost"
    return f"{arms} x {len(study.seeds)} seeds{trials}, {baselines}"


def _compare(plan: StudyPlan, folder: Path) -> None:
    """Writes the comparison, in the unit of cost that the baselines match."""
    from ast_experiments.cli.compare import report_comparisons
    from ast_experiments.comparison.compare import compare
    from ast_experiments.comparison.runs import load

    loaded = load([folder / RUNS])
    names = sorted({run.dataset for run in loaded.runs})
    if not names:
        return
    written = report_comparisons([compare(loaded, name, x=plan.cost) for name in names], folder)
    with_views = load([folder / RUNS], views=True)
    if {run.dataset for run in with_views.runs} == set(names):
        compared = [compare(with_views, name, x=plan.cost) for name in names]
        written += report_comparisons(compared, folder, name="compare_views")
    print(*written, sep="\n")
    took = {False: 0.0, True: 0.0}
    for entry in read_journal(folder):
        took[entry["run"].startswith(TRIALS)] += entry.get("took_s", 0.0)
    if took[True]:
        print(
            f"trials of learning rates took {rough_duration(took[True])}, the comparison {rough_duration(took[False])}"
        )


if __name__ == "__main__":
    main()
