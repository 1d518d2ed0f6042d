"""Measures the cost of logging: epochs logged to W&B (offline), to metrics.jsonl, and nowhere, take turns.

    python scripts/bench_tracking.py                  # SimpleCNN on synthetic images of CIFAR-10's shape
    python scripts/bench_tracking.py --rows 20000 --rounds 9

Every arm is a run of `ast`, whose log rows hold all control signals. The script prints the median over the rounds of an
epoch's seconds over those of the arm without logging, and the share of the time that W&B takes in this process: in the
training loop, and on its own threads (goal: under 2 %). It does not count W&B's own process.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from bench_tools import endless_run, synthetic, take_turns

from ast_experiments.tracking import Trackers
from ast_experiments.tracking.background import BackgroundTracker
from ast_experiments.tracking.wandb import WandbTracker


class TimedTrackers(Trackers):
    """Adds up the seconds that the training loop spends in its trackers."""

    seconds = 0.0

    def log(self, row: Any) -> None:
        """Logs a row and adds up the time."""
        begin = time.perf_counter()
        super().log(row)
        self.seconds += time.perf_counter() - begin


def computed(threads: set[threading.Thread]) -> float:
    """Returns the CPU seconds of threads."""
    return sum(
        time.clock_gettime(time.pthread_getcpuclockid(thread.ident)) for thread in threads if thread.ident is not None
    )


def main() -> None:
    """Runs the arms in turns and prints the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000, help="rows offered in an epoch")
    parser.add_argument("--rounds", type=int, default=7, help="timed epochs of each arm")
    args = parser.parse_args()
    dataset = synthetic(args.rows)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        before = set(threading.enumerate())
        wandb_folder = folder / "wandb"
        wandb_folder.mkdir()
        copy = BackgroundTracker(WandbTracker(wandb_folder, mode="offline"), timeout=60)
        threads = set(threading.enumerate()) - before
        timed = TimedTrackers([copy])
        trackers = {"nowhere": Trackers([]), "jsonl": None, "W&B": timed}
        runs = {
            name: endless_run(dataset, folder / f"run{i}", "experiment=cifar10_stale", "energy=nominal", trackers=each)
            for i, (name, each) in enumerate(trackers.items())
        }
        spent: list[float] = []

        def wandb_epoch() -> None:
            already = timed.seconds + computed(threads)
            runs["W&B"].run_epoch()
            spent.append(timed.seconds + computed(threads) - already)

        arms = {"nowhere": runs["nowhere"].run_epoch, "jsonl": runs["jsonl"].run_epoch, "W&B": wandb_epoch}
        for epoch in arms.values():
            epoch()  # no scores yet; the untimed round then has the first ones
        seconds = take_turns(arms, args.rounds)
        rows = runs["W&B"].progress.step
        timed.finish({"status": "finished"})
    print(
        f"{args.rounds} rounds of {args.rows:,} rows, {statistics.fmean(seconds['W&B']):.2f} s an epoch, {rows} steps"
    )
    for name in ("jsonl", "W&B"):
        ratios = [logged / free for logged, free in zip(seconds[name], seconds["nowhere"], strict=True)]
        print(f"{name} / nowhere: {statistics.median(ratios):.4f} ({min(ratios):.4f} to {max(ratios):.4f})")
    print(f"share of the time that W&B takes: {sum(spent[2:]) / sum(seconds['W&B']):.4%} (goal: < 2 %)")


if __name__ == "__main__":
    main()
