"""Measures the cost of metering energy: epochs with and without a meter take turns in one process.

    python scripts/bench_meter.py                  # SimpleCNN on synthetic images of CIFAR-10's shape
    python scripts/bench_meter.py --rows 20000 --rounds 9

The metered arm uses the machine's own meter. If there is none, a stand-in polls a power reading that takes a
millisecond ten times a second, and reads three files in place of the CPU's counters. The script prints the median over
the rounds of an epoch's seconds with a meter over those without, and the share of the time that the meter takes: in the
training loop, and on its own thread (goal: under 1 %).
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

from bench_tools import endless_run, synthetic, take_turns

from ast_experiments.energy.meter import Meter
from ast_experiments.energy.probe import PERIOD_S, Integral, ProbeResult, Source
from ast_experiments.energy.rapl import Rapl


class Watch:
    """Adds up the seconds that the training thread spends in a meter, and that the meter's own thread computes."""

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


def stand_in(folder: Path) -> Meter:
    """Returns a meter of a GPU whose reading takes a millisecond, and of a CPU with three counters."""

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
    """Runs the arms in turns and prints the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000, help="training rows of an epoch")
    parser.add_argument("--rounds", type=int, default=7, help="timed epochs of each arm")
    args = parser.parse_args()
    dataset = synthetic(args.rows)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        plain = endless_run(dataset, folder / "without", "energy=nominal")
        metered = endless_run(dataset, folder / "with", "energy=auto")
        own = metered.meter.measures
        if not own:
            metered.meter = stand_in(folder / "powercap")
        metered.meter.start()
        watch = Watch(metered.meter)
        metering: list[float] = []

        def metered_epoch() -> None:
            before = watch.seconds
            metered.run_epoch()
            metering.append(watch.seconds - before)

        seconds = take_turns({"without": plain.run_epoch, "with": metered_epoch}, args.rounds)
        metered.meter.close()
    ratios = [on / off for on, off in zip(seconds["with"], seconds["without"], strict=True)]
    share = statistics.fmean(spent / took for spent, took in zip(metering[1:], seconds["with"], strict=True))
    whose = "the meter of this machine" if own else "a stand-in for a meter"
    print(f"{whose}, {args.rounds} rounds of {args.rows:,} rows")
    print(f"epoch with a meter / without: {statistics.median(ratios):.4f} ({min(ratios):.4f} to {max(ratios):.4f})")
    print(f"share of the time that the meter takes: {share:.4%} (goal: < 1 %)")


if __name__ == "__main__":
    main()
