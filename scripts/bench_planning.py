"""Time and memory of planning an epoch, by the number of samples, with synthetic scores.

    python scripts/bench_planning.py --out docs/measurements/planning.json

For each size, a process of its own plans and commits epochs of stale AST. Memory is how far the resident set grows, as
the kernel counts it, from before the sample history is made to the peak of all epochs, so it holds everything: the
history, the plan, and what planning needs meanwhile. Seconds are processor seconds, because other programs may share
the machine. `ranks` are two processes that plan together, over gloo: rank 0 plans, the other one gets its rows.
`crops` is the plan of an epoch of squares that are kept in memory (`dataset.stored_size`): row and crop of each planned
sample. Needs Linux.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

SIZES = (1_280_000, 14_000_000)
RATE, BATCH, EPOCHS, CHUNK, RANKS = 0.4, 256, 3, 1 << 16, 2


def resident(key: str) -> int:
    """Bytes of `VmRSS` or `VmHWM` of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def forget_peak() -> int:
    """Sets the peak of the resident set to what is resident now, and returns that."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return resident("VmRSS")


def plan_epochs(samples: int) -> dict[str, Any]:
    """Plans and commits epochs of stale AST; the seconds are those of the last one, which is planned under control."""
    from ast_experiments.core import distributed
    from ast_experiments.selection.context import Context
    from ast_experiments.selection.control.pi import PI
    from ast_experiments.selection.methods.ast import AST
    from ast_experiments.selection.selector import Selector
    from ast_experiments.selection.significance.loss import loss

    nothing: Any = None
    context = Context(samples, BATCH, EPOCHS, 0, torch.device("cpu"), nothing, nothing)
    before = forget_peak()
    selector, rng = Selector(AST(PI(), loss), context), np.random.default_rng(0)
    plan_s = commit_s = rate = 0.0
    for epoch in range(EPOCHS):
        begun = time.process_time()
        plan = selector.plan(epoch, RATE)
        plan_s, rate = time.process_time() - begun, plan.rows / samples
        for first in range(0, samples, CHUNK):  # every sample has a loss after the first epoch, each from one rank
            ids = torch.arange(first, min(first + CHUNK, samples))[distributed.rank() :: distributed.size()]
            selector.history.record(ids, torch.from_numpy(rng.lognormal(-1, 1, len(ids)).astype(np.float32)))
        begun = time.process_time()
        selector.end_epoch(nothing)
        commit_s = time.process_time() - begun
    peak = resident("VmHWM") - before
    return {
        "rate": round(rate, 4),
        "plan_s": round(plan_s, 3),
        "commit_s": round(commit_s, 3),
        "bytes_per_sample": round(peak / samples, 1),
    }


def plan_crops(samples: int) -> dict[str, Any]:
    """Plans the crops of an epoch at the rate, of squares in memory; no pixel is needed for that."""
    from ast_experiments.data.encoded.device_resizer import DeviceResizer
    from ast_experiments.data.encoded.transforms import RandomResizedCrop

    table = torch.empty((1, 128, 128, 3), dtype=torch.uint8)
    resizer = DeviceResizer(table, torch.arange(samples), RandomResizedCrop(), 112, 0)
    ids = torch.randperm(samples)[: round(RATE * samples)]
    before, begun = forget_peak(), time.process_time()
    drawn = resizer.plan(ids, 0)
    seconds, peak = time.process_time() - begun, resident("VmHWM") - before
    kept = sum(each.numel() * each.element_size() for each in drawn)
    return {
        "crops_s": round(seconds, 3),
        "crops_mb": round(peak / 1e6, 1),
        "crops_kept_mb": round(kept / 1e6, 1),
        "planned": len(ids),
    }


def measure(command: list[str], ranks: int = 1) -> list[dict[str, Any]]:
    """Runs the command once for each rank at the same time; returns what each printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(ranks)}
    environments = [{**group, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(ranks)]
    started = [
        subprocess.Popen(command, env=os.environ | (own if ranks > 1 else {}), stdout=subprocess.PIPE, text=True)
        for own in environments
    ]
    said = [each.communicate()[0] for each in started]
    if any(each.returncode for each in started):
        raise SystemExit("a process failed")
    return [json.loads(each) for each in said]


def main() -> None:
    """Measures each size in a process of its own and writes the file."""
    from ast_experiments.core import distributed

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()

    if args.one and distributed.launched():
        distributed.init()
        for size in (1000, args.one):
            found = plan_epochs(size)
        print(json.dumps(found))
        return
    if args.one:
        for size in (1000, args.one):  # the first loads what is imported on the way
            found = {"samples": size, **plan_epochs(size), **plan_crops(size)}
        print(json.dumps(found))
        return
    rows = []
    for size in args.sizes:
        command = [sys.executable, __file__, "--one", str(size)]
        rows.append({**measure(command)[0], "ranks": measure(command, ranks=RANKS)})
        print(rows[-1], flush=True)
    found = {
        "title": "Planning an epoch of stale AST, by the number of samples",
        "command": "python scripts/bench_planning.py",
        "machine": f"{platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}, one thread",
        "target": RATE,
        "rows": rows,
    }
    if args.out:
        args.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
