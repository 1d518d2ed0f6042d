"""Does choosing pay where labels are wrong, rows repeat, classes are rare, or images are damaged?

    python scripts/study_regimes.py --seeds 1 2 3 4 5 --save docs/measurements/regimes.json
    python scripts/study_regimes.py --seeds 1 --only clean noise_20
    python scripts/study_regimes.py --seeds 1 2 3 --only clean --rivals infobatch

For each regime one study by `ast-bench`: dense training, stale AST as it is and without its estimate of wrong labels,
and their baselines at equal cost: dense training in fewer epochs, `rs2`, and `rs2` with the same rate in every epoch.
Each arm tries two learning rates on held-out rows. The fast network at a quarter of its width learns 25,000 images of
CIFAR-10, with the regime drawn from the seed of the regime, and is evaluated on the whole test set. Seed 0 served for
trying out the methods: a claim needs others.

The rivals `infobatch`, `selective_backprop` and `rho_loss` cost about as many FLOPs as AST, scoring and the small
network of `rho_loss` included, and are compared with AST and with its baselines. `rho_loss` learns from held-out rows
too: with it, a study takes 2,778 images more and holds them out of every arm, so that all arms train on 25,000.
`--rivals` without names leaves them out.

First every regime gets one seed, then every regime a second one. Typed again, the command resumes where it stopped. The
last table is that of the runs that are there; `--save` keeps what the file holds on other regimes.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ast_experiments.comparison.stats import FEWEST, interval
from ast_experiments.core.files import read_json
from ast_experiments.experiments.study.arms import DENSE, as_typed
from ast_experiments.experiments.study.plan import read_plan

BENCH = "import sys; from ast_experiments.cli.bench import main; sys.exit(main())"
STUDIES = Path("outputs") / "studies"
METHODS = ("ast:rate=0.5:rate_schedule=auto", "ast:rate=0.5:rate_schedule=auto:noise_robust=false")
COMMON = (
    "experiment=cifar10_speedrun",
    "model.width=0.25",
    "dataset.train_rows=25000",
    "recipe.epochs=8",
    "eval_every=8",
    "eval_views=false",
    f"methods=[{','.join(METHODS)}]",
    "lr_trials=2",
    "cost=flops",
    "hardware=cpu",
    "hardware.threads=1",
    "tracking=jsonl",
    "tracking.report=false",
)
REGIMES = {
    "clean": (),
    "noise_10": ("dataset.label_noise=0.1",),
    "noise_20": ("dataset.label_noise=0.2",),
    "noise_40": ("dataset.label_noise=0.4",),
    "duplicates_80": ("dataset.duplicates=0.8",),
    "tail_50": ("dataset.imbalance=50",),
    "corruption_20": ("dataset.corruption=0.2",),
    "longer": ("recipe.epochs=20", "eval_every=20"),
}
MORE = {
    "all_rows": ("dataset.train_rows=null",),
    "tail_4": ("dataset.imbalance=4",),
    "tail_10": ("dataset.imbalance=10",),
}
"""Regimes that are studied only if they are named by --only."""
RIVALS = {
    "infobatch": {"8": "infobatch:recipe.epochs=5:full_after=0.8", "20": "infobatch:recipe.epochs=14"},
    "selective_backprop": {"8": "selective_backprop:rate=0.365", "20": "selective_backprop:rate=0.41"},
    "rho_loss": {"8": "rho_loss:recipe.epochs=6:rate=0.29", "20": "rho_loss:recipe.epochs=15:rate=0.31"},
}
"""Arms that cost as much as AST at a rate of 0.5, by rival and by `recipe.epochs` of the study. The last epoch of
`infobatch` trains on all rows, as the default does in longer runs. `rho_loss` takes fewer epochs than AST: in 8 epochs,
it would spend so much on scoring that it trains 56 steps only, and ended 15 points lower in a trial with seed 0."""
WITH_HELD_OUT = ("dataset.train_rows=27778", "holdout=0.1")


def command(regime: str, name: str, seeds: list[int], extra: list[str], rivals: Sequence[str] = ()) -> list[str]:
    """Returns the arguments of `ast-bench` for a regime.

    Raises:
        ValueError: If there are rivals, but no settings for as many epochs.
    """
    changes = [*(WITH_HELD_OUT if "rho_loss" in rivals else ()), *(REGIMES | MORE)[regime]]
    changes = [each for each in changes if key(each) not in map(key, extra)]
    own = {key(each): each.partition("=")[2] for each in (*changes, *extra)}
    common = [each for each in COMMON if key(each) not in own]
    if rivals and "methods" not in own:
        epochs = own.get("recipe.epochs", "8")
        if epochs not in RIVALS[rivals[0]]:
            raise ValueError(
                f"rivals are set for 8 and 20 epochs, not {epochs}; type --rivals without names to leave them out"
            )
        methods = [*METHODS, *(RIVALS[rival][epochs] for rival in rivals)]
        at = common.index(f"methods=[{','.join(METHODS)}]")
        common[at : at + 1] = [f"methods=[{','.join(methods)}]", "baselines=[ast]"]
    return [f"name={name}_{regime}", f"seeds=[{','.join(map(str, seeds))}]", *common, *changes, *extra]


def key(setting: str) -> str:
    """Returns the key of KEY=VALUE."""
    return setting.partition("=")[0]


def arms(study: Path) -> dict[str, dict[str, Any]]:
    """Returns learning rate, purpose as a baseline, and accuracy, rows and cost by seed, of each arm of a study."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(study.glob("runs/*/seed_*/result.json")):
        result = json.loads(path.read_text())
        if result["status"] != "finished":
            continue
        tags = [tag.removeprefix("baseline=") for tag in result["tags"] if tag.startswith("baseline=")]
        own = {"method": result["method"], "lr": result["batch"]["lr"], "baseline_of": tags, "runs": {}}
        found.setdefault(path.parts[-3], own)["runs"][str(result["seed"])] = {
            "accuracy": round(result["final_accuracy"], 2),
            "rows_trained": result["rows_trained"],
            "pflop": round((result["flops"]["train"] + result["flops"]["score"]) / 1e15, 5),
        }
    return found


def paired(ours: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Returns the mean difference of two arms, paired by seed, in points; with enough seeds, its interval too."""
    seeds = sorted(ours["runs"].keys() & other["runs"].keys(), key=int)
    values = [ours["runs"][seed]["accuracy"] - other["runs"][seed]["accuracy"] for seed in seeds]
    known = interval(values) if len(values) >= FEWEST else None
    return {
        "mean": round(statistics.mean(values), 2) if values else None,
        "interval": None if known is None else [round(known.low, 2), round(known.high, 2)],
        "seeds": len(values),
    }


def differences(found: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns the difference of each method to each of its baselines."""
    pairs: dict[str, dict[str, Any]] = {}
    for name, arm in found.items():
        for tag in arm["baseline_of"]:
            kind, _, method = tag.partition(":")
            ours = found.get(method.replace(" ", "-"))  # labels of arms in names of directories
            if ours is not None:
                pairs.setdefault(method, {})[kind] = {"arm": name, **paired(ours, arm)}
    return pairs


def differences_of_rivals(found: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the difference of each rival to the best baseline of AST, and of each arm of AST to each rival."""
    pairs: list[dict[str, Any]] = []
    for name, arm in found.items():
        if arm["method"] not in RIVALS:
            continue
        above = [
            {"arm": name, "minus": baseline, **paired(arm, other)}
            for baseline, other in found.items()
            if other["baseline_of"]
        ]
        above = [pair for pair in above if pair["seeds"]]
        most = max((pair["seeds"] for pair in above), default=0)
        best = [pair for pair in above if pair["seeds"] == most]
        pairs += [min(best, key=lambda pair: pair["mean"])] if best else []
        pairs += [
            {"arm": ours, "minus": name, **paired(other, arm)}
            for ours, other in found.items()
            if other["method"] == "ast"
        ]
    return [pair for pair in pairs if pair["seeds"]]


def typed(study: Path) -> str:
    """Returns the command of a study that is there."""
    plan = read_plan(study)
    if plan is None:
        return ""
    asked = plan.study
    named = ",".join(as_typed(arm.label) for arm in asked.arms if arm != DENSE)
    own = [f"name={asked.name}", f"seeds=[{','.join(map(str, asked.seeds))}]", f"methods=[{named}]"]
    own += [] if asked.baselines is None else [f"baselines=[{','.join(map(as_typed, asked.baselines))}]"]
    return shlex.join(["ast-bench", *own, f"lr_trials={asked.lr_trials}", f"cost={asked.cost}", *asked.common])


def table(name: str) -> dict[str, Any]:
    """Prints and returns what the studies of all regimes have found so far."""
    content: dict[str, Any] = {}
    for regime in (*REGIMES, *MORE):
        study = STUDIES / f"{name}_{regime}"
        found = arms(study)
        if not found:
            continue
        pairs, of_rivals = differences(found), differences_of_rivals(found)
        content[regime] = {"command": typed(study), "arms": found, "differences": pairs, "rivals": of_rivals}
        print(f"\n{regime:42} accuracy   PFLOP      lr")
        for arm, each in found.items():
            accuracy, pflop = (
                statistics.mean(run[figure] for run in each["runs"].values()) for figure in ("accuracy", "pflop")
            )
            served = ", ".join(each["baseline_of"])
            print(f"  {arm:40} {accuracy:8.2f} {pflop:7.4f} {each['lr']:7g}  {len(each['runs'])} seeds  {served}")
        for method, against in pairs.items():
            for kind, pair in against.items():
                print(f"    {method} - {kind}: {pair['mean']} {pair['interval'] or ''}")
        for pair in of_rivals:
            print(f"    {pair['arm']} - {pair['minus']}: {pair['mean']} {pair['interval'] or ''}")
    return content


def save(file: Path, content: dict[str, Any]) -> None:
    """Writes what was found; keeps what the file holds on other regimes, and its title and other notes."""
    kept = read_json(file) or {}
    old = kept.pop("command", ""), kept.pop("settings", {})  # of all regimes, in files of before
    regimes = kept.pop("regimes", {})
    for regime, each in regimes.items():
        settings = old[0].replace("_clean", f"_{regime}", 1), old[1].get(regime, "")
        regimes[regime] = {"command": " ".join(filter(None, settings))} | each
    regimes |= content
    order = [regime for regime in (*REGIMES, *MORE, *regimes) if regime in regimes]
    written = {**kept, "regimes": {regime: regimes[regime] for regime in order}}
    file.write_text(json.dumps(written, indent=1) + "\n")


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--only", nargs="*", default=list(REGIMES), choices=[*REGIMES, *MORE])
    parser.add_argument("--rivals", nargs="*", default=list(RIVALS), choices=list(RIVALS), help="default: all")
    parser.add_argument("--name", default="regimes", help="beginning of the names of the studies")
    parser.add_argument("--save", type=Path, help="write the figures to this file")
    parser.add_argument("extra", nargs="*", help="settings for every study, as for ast-bench, after --")
    args = parser.parse_args()
    try:
        for regime in args.only:
            command(regime, args.name, args.seeds, args.extra, args.rivals)
    except ValueError as error:
        parser.error(str(error))
    for count in range(1, len(args.seeds) + 1):
        for regime in args.only:
            settings = command(regime, args.name, args.seeds[:count], args.extra, args.rivals)
            print("ast-bench", shlex.join(settings), flush=True)
            if code := subprocess.run([sys.executable, "-c", BENCH, *settings], check=False).returncode:
                return code
    content = table(args.name)
    if args.save:
        save(args.save, content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
