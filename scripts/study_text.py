"""Which sentences are worth training on? Five ways to train as many rows, five seeds each, on the text example.

    python scripts/study_text.py outputs/study_text --save docs/measurements/text_study.json

The arms of examples/text_classification.py: dense training for fewer epochs, `rs2` and stale AST at a constant rate,
and a uniform draw and stale AST at a falling rate. The learning rate of each arm is chosen by equal numbers of trials,
trained on a part of the training sentences and evaluated on the others. Each run then uses the test sentences once, at
its end. The directory holds the runs, for `ast-compare outputs/study_text/runs --x samples`; runs that are there are
not repeated.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import torch

from ast_experiments import Selection, record, select
from ast_experiments.comparison.compare import compare
from ast_experiments.comparison.runs import load
from ast_experiments.core.text import slug

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
import docstrings
from text_classification import BATCH, fit

FALLING = {"rate": 0.6, "rate_final": 0.2}
ARMS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "dense, 4 epochs": ("dense", 4, {}),
    "rs2, 10 epochs at 0.4": ("rs2", 10, {"rate": 0.4}),
    "random, 10 epochs, 0.6 to 0.2": ("random", 10, FALLING),
    "ast, 10 epochs at 0.4": ("ast", 10, {"rate": 0.4}),
    "ast, 10 epochs, 0.6 to 0.2": ("ast", 10, FALLING),
}
"""Method, epochs and settings of each arm."""
RATES = (1e-3, 2e-3, 4e-3, 8e-3, 16e-3, 32e-3, 64e-3, 128e-3)
TRIALS, SEEDS = (100, 101), range(5)


def selection_of(arm: str, rows: int, seed: int) -> Selection:
    """Returns the selection of an arm."""
    method, epochs, settings = ARMS[arm]
    return select(method, dataset_size=rows, batch_size=BATCH, epochs=epochs, seed=seed, **settings)


def choose(arm: str, sets: Any, file: Path) -> dict[str, Any]:
    """Returns the accuracies of the trials of an arm, by learning rate, and the best rate; keeps them in a file."""
    found: dict[str, list[float]] = json.loads(file.read_text())["trials"] if file.exists() else {}
    for lr in RATES:
        if f"{lr:g}" not in found:
            reached = [fit(sets, selection_of(arm, len(sets[0]), seed), seed, lr) for seed in TRIALS]
            found[f"{lr:g}"] = [round(each, 2) for each in reached]
    chosen = {"lr": max(RATES, key=lambda lr: statistics.mean(found[f"{lr:g}"])), "trials": found}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(chosen))
    return chosen


def run(arm: str, sets: Any, seed: int, lr: float, folder: Path) -> None:
    """Trains and records one run of an arm."""
    if (folder / "result.json").exists():
        return
    selection = selection_of(arm, len(sets[0]), seed)
    settings = {"lr": lr, "epochs": selection.total_epochs}
    data = f"{len(sets[0])}+{len(sets[1])} sentences"
    with record(
        folder, dataset="docstrings", model="bag of words", seed=seed, selection=selection, settings=settings,
        data_fingerprint=data,
    ) as written:  # fmt: skip
        written.epoch(accuracy=fit(sets, selection, seed, lr))  # one row: nothing is evaluated on the way


def result(folder: Path, chosen: dict[str, Any], sets: Any) -> dict[str, Any]:
    """Returns what the study found, from the runs in its directory."""
    verdicts = {}
    for each in compare(load([folder / "runs"]), "docstrings", x="samples").results:
        difference = each.verdict.difference
        arm = Path(each.arm.runs[0].name).name.rpartition("_")[0]
        verdicts[arm] = {
            "word": each.verdict.word,
            "against": each.verdict.against,
            "points_above_uniform": None
            if difference is None
            else [round(value, 2) for value in (difference.mean, difference.low, difference.high)],
        }
    arms = {}
    for arm, (_, epochs, settings) in ARMS.items():
        runs = [json.loads((folder / "runs" / f"{slug(arm)}_{seed}" / "result.json").read_text()) for seed in SEEDS]
        accuracies = [run["final_accuracy"] for run in runs]
        arms[arm] = {
            "settings": {"epochs": epochs, **settings},
            "lr": chosen[arm]["lr"],
            "trials": chosen[arm]["trials"],
            "rows_trained": [run["rows_trained"] for run in runs],
            "accuracy": [round(each, 2) for each in accuracies],
            "mean": round(statistics.mean(accuracies), 2),
            "sd": round(statistics.stdev(accuracies), 2),
            "verdict": verdicts[slug(arm)],
        }
    return {
        "title": "Five ways to train as many sentences; accuracy in percent of the test sentences, five seeds",
        "command": "python scripts/study_text.py outputs/study_text",
        "train_samples": len(sets[0]),
        "test_samples": len(sets[1]),
        "arms": arms,
        "versions": {"torch": torch.__version__},
    }


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--save", type=Path, help="write the figures to this file")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    trial_sets, sets = docstrings.load(trial=True), docstrings.load()
    chosen = {arm: choose(arm, trial_sets, args.folder / "trials" / f"{slug(arm)}.json") for arm in ARMS}
    for seed in SEEDS:
        for arm in ARMS:
            run(arm, sets, seed, chosen[arm]["lr"], args.folder / "runs" / f"{slug(arm)}_{seed}")
    found = result(args.folder, chosen, sets)
    for arm, figures in found["arms"].items():
        print(f"{arm:30} lr {figures['lr']:g}  {figures['mean']:.2f} +- {figures['sd']:.2f}  {figures['verdict']}")
    if args.save:
        args.save.parent.mkdir(parents=True, exist_ok=True)
        args.save.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
