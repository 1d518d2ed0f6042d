"""Cost of logging: epochs that are logged to W&B (offline), to metrics.jsonl, and nowhere take turns in one run.

    python scripts/bench_tracking.py                  # SimpleCNN on synthetic images of CIFAR-10's shape
    python scripts/bench_tracking.py --rows 20000 --rounds 9

Every arm is a run of AST on stale scores, whose rows hold all signals of the control. Printed are the median over the
rounds of an epoch's seconds over those of the arm without logging, and the share of the time that W&B takes: what the
training loop spends in it, and what its threads compute in this process (under 2 % is wanted). W&B's own process runs
beside.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from bench_loop import synthetic

from ast_experiments.config.compose import load_config
from ast_experiments.data.dataset import Dataset
from ast_experiments.runs.build import build_run
from ast_experiments.tracking import Trackers
from ast_experiments.tracking.background import BackgroundTracker
from ast_experiments.tracking.jsonl import JsonlTracker
from ast_experiments.tracking.wandb import WandbTracker
from ast_experiments.training.loop import Trainer


class Watched(Trackers):
    """Adds up the seconds that the training loop spends in its trackers."""

    seconds = 0.0

    def log(self, row: Any) -> None:
        """Hands one row on, and takes the time."""
        begin = time.perf_counter()
        super().log(row)
        self.seconds += time.perf_counter() - begin


def run_of(dataset: Dataset, folder: Path, trackers: Trackers) -> Trainer:
    """A run of this project's loop."""
    overrides = ["experiment=cifar10_stale", "tracking=jsonl", "energy=nominal", "recipe.epochs=1000"]
    run = build_run(load_config(overrides), folder, lambda _: trackers, dataset=dataset)
    run.tracker.load_state_dict({})
    run.stepper.model.train()
    return run


def computed(threads: set[threading.Thread]) -> float:
    """Processor seconds of threads."""
    return sum(
        time.clock_gettime(time.pthread_getcpuclockid(thread.ident)) for thread in threads if thread.ident is not None
    )


def main() -> None:
    """Run the arms in turns and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000, help="training rows that an epoch chooses from")
    parser.add_argument("--rounds", type=int, default=7, help="timed epochs of each arm")
    args = parser.parse_args()
    dataset = synthetic(args.rows)
    with tempfile.TemporaryDirectory() as scratch:
        folders = {name: Path(scratch) / name for name in ("nowhere", "jsonl", "W&B")}
        for folder in folders.values():
            folder.mkdir()
        before = set(threading.enumerate())
        copy = BackgroundTracker(WandbTracker(folders["W&B"], mode="offline"), timeout=60)
        threads = set(threading.enumerate()) - before
        watched = Watched([copy])
        trackers = {
            "nowhere": Trackers([]),
            "jsonl": Trackers([JsonlTracker(folders["jsonl"] / "metrics.jsonl")]),
            "W&B": watched,
        }
        arms = {name: run_of(dataset, folders[name], trackers[name]) for name in folders}
        seconds: dict[str, list[float]] = {name: [] for name in arms}
        spent = 0.0
        for turn in range(args.rounds + 2):  # the first epoch has no scores, the second none that are controlled
            for name in sorted(arms, reverse=turn % 2 == 0):
                already = watched.seconds + computed(threads)
                begin = time.perf_counter()
                arms[name].run_epoch()
                if turn > 1:
                    seconds[name].append(time.perf_counter() - begin)
                    spent += watched.seconds + computed(threads) - already
        rows = arms["W&B"].progress.step
        watched.finish({"status": "finished"})
    print(
        f"{args.rounds} rounds of {args.rows:,} rows, {sum(seconds['W&B']) / args.rounds:.2f} s an epoch, {rows} steps"
    )
    for name in ("jsonl", "W&B"):
        ratios = [logged / free for logged, free in zip(seconds[name], seconds["nowhere"], strict=True)]
        print(f"{name} / nowhere: {statistics.median(ratios):.4f} ({min(ratios):.4f} to {max(ratios):.4f})")
    print(f"share of the time that W&B takes: {spent / sum(seconds['W&B']):.4%} (wanted: < 2 %)")


if __name__ == "__main__":
    main()
