"""Does choosing pay where labels are wrong, rows repeat, classes are rare, or images are damaged?

    python scripts/study_regimes.py --seeds 1 2 3 4 5 --save docs/measurements/regimes.json
    python scripts/study_regimes.py --seeds 1 --only clean noise_20

For each regime one study by `ast-bench`: dense training, stale AST as it is and without its estimate of wrong labels,
and their baselines at equal cost: dense training in fewer epochs, `rs2`, and `rs2` with the same rate in every epoch.
The fast network at a quarter of its width learns 25,000 images of CIFAR-10, with the regime drawn from the seed of the
regime, and is evaluated on the whole test set. Seed 0 served for trying out the method: a claim needs others. First
every regime gets one seed, then every regime a second one. Typed again, the command resumes where it stopped. The last
table is that of the runs that are there.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from ast_experiments.comparison.stats import interval

BENCH = "import sys; from ast_experiments.cli.bench import main; sys.exit(main())"
COMMON = (
    "experiment=cifar10_speedrun",
    "model.width=0.25",
    "dataset.train_rows=25000",
    "recipe.epochs=8",
    "eval_every=8",
    "eval_views=false",
    "methods=[ast:rate=0.5,ast:rate=0.5:noise_robust=false]",
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
    "tail_4": ("dataset.imbalance=4",),
    "tail_10": ("dataset.imbalance=10",),
}
"""Regimes that are studied only if they are named by --only."""
BASELINES = ("dense_shorter", "rs2", "rs2_same_schedule")


def command(regime: str, name: str, seeds: list[int], extra: list[str]) -> list[str]:
    """Returns the arguments of `ast-bench` for a regime."""
    changes = (REGIMES | MORE)[regime]
    own = {each.partition("=")[0] for each in (*changes, *extra)}
    common = [each for each in COMMON if each.partition("=")[0] not in own]
    return [f"name={name}_{regime}", f"seeds=[{','.join(map(str, seeds))}]", *common, *changes, *extra]


def arms(study: Path) -> dict[str, dict[str, Any]]:
    """Returns accuracy and rows by seed of each arm of a study, with the baselines that it is."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(study.glob("runs/*/seed_*/result.json")):
        result = json.loads(path.read_text())
        if result["status"] != "finished":
            continue
        tags = [tag.removeprefix("baseline=") for tag in result["tags"] if tag.startswith("baseline=")]
        arm = found.setdefault(path.parts[-3], {"method": result["method"], "baseline_of": tags, "runs": {}})
        arm["runs"][str(result["seed"])] = {
            "accuracy": round(result["final_accuracy"], 2),
            "rows_trained": result["rows_trained"],
            "pflop": round(result["flops"]["train"] / 1e15, 5),
        }
    return found


def differences(found: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns the paired differences of accuracy of each method against each of its baselines, in points."""
    pairs: dict[str, dict[str, Any]] = {}
    for name, arm in found.items():
        for tag in arm["baseline_of"]:
            kind, _, method = tag.partition(":")
            ours = found.get(method.replace(" ", "-"))  # labels of arms in names of directories
            if ours is None:
                continue
            seeds = sorted(ours["runs"].keys() & arm["runs"].keys(), key=int)
            values = [ours["runs"][seed]["accuracy"] - arm["runs"][seed]["accuracy"] for seed in seeds]
            known = interval(values) if len(values) > 2 else None
            pairs.setdefault(method, {})[kind] = {
                "arm": name,
                "mean": round(statistics.mean(values), 2) if values else None,
                "interval": None if known is None else [round(known.low, 2), round(known.high, 2)],
                "seeds": len(values),
            }
    return pairs


def table(name: str) -> dict[str, Any]:
    """Prints and returns what the studies of all regimes have found so far."""
    content: dict[str, Any] = {}
    for regime in (*REGIMES, *MORE):
        found = arms(Path("outputs/studies") / f"{name}_{regime}")
        if not found:
            continue
        pairs = differences(found)
        content[regime] = {"arms": found, "differences": pairs}
        print(f"\n{regime}")
        for arm, each in found.items():
            values = [run["accuracy"] for run in each["runs"].values()]
            print(f"  {arm:40} {statistics.mean(values):6.2f}  {len(values)} seeds  {', '.join(each['baseline_of'])}")
        for method, against in pairs.items():
            for kind, pair in against.items():
                print(f"    {method} - {kind}: {pair['mean']} {pair['interval'] or ''}")
    return content


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--only", nargs="*", default=list(REGIMES), choices=[*REGIMES, *MORE])
    parser.add_argument("--name", default="regimes", help="beginning of the names of the studies")
    parser.add_argument("--save", type=Path, help="write the figures to this file")
    parser.add_argument("extra", nargs="*", help="settings for every study, as for ast-bench, after --")
    args = parser.parse_args()
    for count in range(1, len(args.seeds) + 1):
        for regime in args.only:
            settings = command(regime, args.name, args.seeds[:count], args.extra)
            print("ast-bench", shlex.join(settings), flush=True)
            if code := subprocess.run([sys.executable, "-c", BENCH, *settings], check=False).returncode:
                return code
    content = table(args.name)
    if args.save:
        written = {"command": f"ast-bench {shlex.join(command('clean', args.name, args.seeds, args.extra))}"}
        regimes = {regime: " ".join((REGIMES | MORE)[regime]) for regime in content}
        args.save.write_text(json.dumps({**written, "settings": regimes, "regimes": content}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
