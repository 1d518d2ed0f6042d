"""How often is the prediction of `ast-doctor ... pilot=true` right?

    python scripts/check_pilot.py --save docs/measurements/pilot.json
    python scripts/check_pilot.py --only clean noise_20 --seed 100 -- dataset.regime_seed=100

Runs the pilot on the regimes of `study_regimes.py`, on the strong baseline as it is, on Imagenette and on digits, and
lists each prediction beside what was measured (docs/measurements). The rule was made from some of these measurements:
the table shows whether a pilot recognises these cases, not how well the rule holds for other data.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from study_regimes import COMMON, MORE, REGIMES

from ast_experiments.config.compose import load_config
from ast_experiments.pilot.cases import Case, measured_cases
from ast_experiments.pilot.diagnosis import diagnose
from ast_experiments.pilot.rule import judge

NOT_FOR_A_RUN = ("methods", "lr_trials", "cost", "eval_every")
STUDY = tuple(each for each in COMMON if each.partition("=")[0] not in NOT_FOR_A_RUN)
CPU = ("hardware=cpu", "hardware.threads=1")
OWN = REGIMES | {"all_rows": MORE["all_rows"]}
RATES = ("method.rate=0.5", "method.rate_schedule=auto")
SETTINGS = {name: (*STUDY, *RATES, *own) for name, own in OWN.items()} | {
    "speedrun": ("experiment=cifar10_speedrun", "eval_views=false", *CPU),
    "speedrun_views": ("experiment=cifar10_speedrun", *CPU),
    "imagenette_scratch": ("experiment=imagenette_scratch", *CPU),
    "digits": ("experiment=quickstart", *CPU),
}
"""Settings of each run that is advised on; names are those of the measured cases, if there is one."""


def predict(settings: list[str]) -> dict[str, Any]:
    """Runs one pilot; returns the prediction and the figures behind it."""
    seen = diagnose(settings, load_config(settings))
    signs, verdict = seen.signs, judge(seen.signs)

    def points(value: float | None) -> float | None:
        return None if value is None else round(100 * value, 1)

    return {
        "pays": verdict.pays,
        "sign": verdict.sign,
        "wrong_labels": None if signs.noise is None else [points(value) for value in signs.noise],
        "imbalance": round(signs.imbalance, 1),
        "repeated": [points(signs.repeats.exact), points(signs.repeats.near)],
        "learned": points(signs.learned),
        "accuracy": points(signs.accuracy),
        "rows_trained": seen.pilot.size.trained * seen.pilot.size.passes if seen.pilot else 0,
        "rows_scored": seen.pilot.size.scored if seen.pilot else 0,
        "cost": points(seen.pilot.share) if seen.pilot else 0.0,
        "seconds": round(seen.pilot.seconds, 1) if seen.pilot else 0.0,
    }


def outcome(predicted: bool, case: Case | None) -> str:
    """Returns `hit`, `miss`, or `not measured yet`."""
    return "not measured yet" if case is None else "hit" if predicted == case.pays else "miss"


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="seed of the pilots")
    parser.add_argument("--only", nargs="*", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--save", type=Path, help="write the table to this file")
    parser.add_argument("extra", nargs="*", help="settings for every run, after --")
    args = parser.parse_args()
    cases, table = measured_cases(), {}
    print(f"{'run':20} {'prediction':16} {'sign':16} {'wrong':>6} {'learned':>8} {'cost':>6}  measured")
    for name in args.only:
        settings = [*SETTINGS[name], f"seed={args.seed}", *args.extra]
        found, case = predict(settings), cases.get(name)
        result = outcome(found["pays"], case)
        measured = None if case is None else {"points": round(case.points, 2), "seeds": case.seeds, "pays": case.pays}
        table[name] = {"settings": " ".join(settings), "prediction": found, "measured": measured, "outcome": result}
        wrong = "" if found["wrong_labels"] is None else found["wrong_labels"][0]
        said = "pays" if found["pays"] else "does not pay"
        told = "" if case is None else f"{case.points:+.2f} points, {case.seeds} seeds: "
        print(
            f"{name:20} {said:16} {found['sign']:16} {wrong:>6} {found['learned'] or '':>8} {found['cost']:>6}  "
            f"{told}{result}",
            flush=True,
        )
    counts = {kind: [row["outcome"] for row in table.values()].count(kind) for kind in ("hit", "miss")}
    print(f"{counts['hit']} hits, {counts['miss']} misses, {len(table) - sum(counts.values())} not measured yet")
    if args.save:
        command = f"python scripts/check_pilot.py --seed {args.seed} --save {args.save}"
        content = {"title": "Predictions of the pilot beside what was measured", "command": command}
        content |= {"hits": counts["hit"], "misses": counts["miss"], "runs": table}
        args.save.write_text(json.dumps(content, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
