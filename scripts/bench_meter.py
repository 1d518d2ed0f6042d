"""Cost of metering: epochs with and without a meter take turns in one run.

    python scripts/bench_meter.py                  # SimpleCNN on synthetic images of CIFAR-10's shape
    python scripts/bench_meter.py --rows 20000 --rounds 9

The metered arm has the machine's own meter. Where there is none, power that takes a millisecond to ask for is polled
ten times a second, and three files stand in for the processor's counters, as a real meter would have it. Printed are
the median over the rounds of an epoch's seconds with a meter over those without, and the share of the time that the
meter takes: what the training loop spends in it, and what its thread computes (under 1 % is wanted).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench_loop import synthetic

from ast_experiments.config.compose import load_config
from ast_experiments.data.dataset import Dataset
from ast_experiments.energy.meter import Meter
from ast_experiments.energy.probe import PERIOD_S, Integral, ProbeResult, Source
from ast_experiments.energy.rapl import Rapl
from ast_experiments.runs.build import build_run
from ast_experiments.tracking import Trackers
from ast_experiments.tracking.jsonl import JsonlTracker
from ast_experiments.training.loop import Trainer


class Watch:
    """Adds up what a meter costs: the seconds for which the training thread is in it, and its own thread computes."""

    def __init__(self, meter: Meter) -> None:
        self.seconds = 0.0
        for name in ("end_window", "row", "state_dict"):
            setattr(meter, name, self._timed(getattr(meter, name), time.perf_counter))
        for account in (meter._gpu, meter._cpu):
            if account._source is not None:
                account._source._energy = self._timed(account._source._energy, time.thread_time, own_thread=True)

    def _timed(
        self, call: Callable[..., Any], clock: Callable[[], float], own_thread: bool = False
    ) -> Callable[..., Any]:
        def timed(*args: Any) -> Any:
            begin = clock()
            try:
                return call(*args)
            finally:
                if own_thread == (threading.current_thread() is not threading.main_thread()):
                    self.seconds += clock() - begin

        return timed


def run_of(dataset: Dataset, folder: Path, energy: str) -> Trainer:
    """A run of this project's loop."""
    folder.mkdir()
    overrides = ["experiment=cifar10_dense", "tracking=jsonl", "recipe.epochs=1000", f"energy={energy}"]
    tracker = Trackers([JsonlTracker(folder / "metrics.jsonl")])
    run = build_run(load_config(overrides), folder, lambda _: tracker, dataset=dataset)
    run.tracker.load_state_dict({})
    run.stepper.model.train()
    return run


def stand_in(folder: Path) -> Meter:
    """A meter of a GPU that costs a millisecond to ask, and of a processor with three counters."""

    def power() -> float:
        time.sleep(1e-3)
        return 250.0

    for zone, name in (("intel-rapl:0", "package-0"), ("intel-rapl:1", "package-1"), ("intel-rapl:0:0", "dram")):
        (folder / zone).mkdir(parents=True)
        for file, text in (("name", name), ("energy_uj", "1"), ("max_energy_range_uj", "262143328850")):
            (folder / zone / file).write_text(text)
    gpu = Source("nvml_power", Integral(power).energy, every=PERIOD_S)
    return Meter(ProbeResult(gpu), ProbeResult(Source("rapl", Rapl(folder).energy, every=30.0)), uuid="stand-in")


def main() -> None:
    """Run the arms in turns and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000, help="training rows of an epoch")
    parser.add_argument("--rounds", type=int, default=7, help="timed epochs of each arm")
    args = parser.parse_args()
    dataset = synthetic(args.rows)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        arms = {
            "without": run_of(dataset, folder / "without", "nominal"),
            "with": run_of(dataset, folder / "with", "auto"),
        }
        own = arms["with"].meter.measures
        if not own:
            arms["with"].meter = stand_in(folder / "powercap")
        arms["with"].meter.start()
        watch = Watch(arms["with"].meter)
        ratios, metered = [], 0.0
        for turn in range(args.rounds + 1):
            seconds = {}
            for name in sorted(arms, reverse=turn % 2 == 0):
                before = watch.seconds
                begin = time.perf_counter()
                arms[name].run_epoch()
                seconds[name] = time.perf_counter() - begin
                if name == "with" and turn:
                    metered += (watch.seconds - before) / seconds[name] / args.rounds
            if turn:
                ratios.append(seconds["with"] / seconds["without"])
        arms["with"].meter.close()
    whose = "the meter of this machine" if own else "a stand-in for a meter"
    print(f"{whose}, {args.rounds} rounds of {args.rows:,} rows")
    print(f"epoch with a meter / without: {statistics.median(ratios):.4f} ({min(ratios):.4f} to {max(ratios):.4f})")
    print(f"share of the time that the meter takes: {metered:.4%} (wanted: < 1 %)")


if __name__ == "__main__":
    main()
