"""Stops runs in every way at random moments, resumes them, and checks that each ends as if nothing had happened.

    python scripts/soak.py                        # every configuration once
    python scripts/soak.py --runs 100 --seed 1    # 100 runs; their faults follow from the seed

A run of each configuration is left alone. Then runs of all configurations take turns. Each suffers up to three faults:
SIGKILL, SIGTERM, a full disk (no file may grow beyond 2 kB), a removed file, a flipped bit in the last checkpoint, a
dead worker or a dead tracker; the last two come first where a configuration has workers or a tracker, as few do.
`ast-resume` resumes it until it finishes. Then its weights, its table of samples, every row of its record and its
result must be those of the run that was left alone, bit for bit; no process may have printed a traceback, and no lock
or temporary file may be left. The last line counts the faults of each kind.

Runs are forked from this process, which has made the imports.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from soak_configs import CONFIGS, images, overrides
from soak_processes import children, ended, holds, start

from ast_experiments.cli import resume, train
from ast_experiments.runs.result import VOLATILE, VOLATILE_ROW

FAULTS = ("SIGKILL", "SIGTERM", "full disk", "removed file", "flipped bit", "dead worker", "dead tracker")
FILES = ("metrics.jsonl", "result.json", "config.yaml", "checkpoints/last.pt", "checkpoints/previous.pt")
CODES = {"SIGKILL": {-9}, "SIGTERM": {75, -15}, "full disk": {1}, "dead worker": {1}}
"""Exit codes that a fault may end a run with, besides 0 if the run was faster."""
PATIENCE_S = 900.0
"""Seconds after which a run counts as hanging."""
LATE = ("sklearn.datasets", "timm", "torch._dynamo", "wandb", "ast_experiments.runs.build", "ast_experiments.runs.run",
        "ast_experiments.config.preflight", "ast_experiments.analysis.report", "hydra._internal.hydra")  # fmt: skip
"""Modules that a run imports late; imported before the first run, each start takes a fraction of a second."""


class Broken(Exception):
    """A run that did not end as it should."""


class Whole(NamedTuple):
    """A run that was left alone: its directory, how long it took, and the bytes of its record."""

    folder: Path
    seconds: float
    size: int


def strike(fault: str, child: int, folder: Path, rng: random.Random) -> bool:
    """Does harm to a run; returns whether it could."""
    if fault == "SIGKILL":
        os.kill(child, signal.SIGKILL)
    elif fault == "SIGTERM":
        os.kill(child, signal.SIGTERM)
    elif fault == "full disk":
        resource.prlimit(child, resource.RLIMIT_FSIZE, (2048, resource.RLIM_INFINITY))
    elif fault == "dead worker":
        victims = children(child)
        if not victims:
            return False
        os.kill(rng.choice(victims), signal.SIGKILL)
    elif fault == "dead tracker":
        victims = children(child, "wandb")
        if not victims:
            return False
        os.kill(victims[0], signal.SIGKILL)
    elif fault == "removed file":
        path = folder / rng.choice(FILES)
        record = path.name == "metrics.jsonl"
        if not path.exists() or not (folder / ".hydra" / "config.yaml").exists() or (record and not holds(child, path)):
            return False
        path.unlink()
        if not record:  # whose rows are only in memory until the run has written them back
            os.kill(child, signal.SIGKILL)
    return True


def size(path: Path) -> int:
    """Returns the size of a file, 0 if there is none."""
    return path.stat().st_size if path.exists() else 0


def await_moment(child: int, folder: Path, rng: random.Random, whole: Whole) -> int | None:
    """Waits until a random moment of a run: as it starts, or as its record grows; returns its exit code if it ends."""
    at, record = rng.uniform(-0.25, 0.9), folder / "metrics.jsonl"
    if at < 0:
        return ended(child, rng.uniform(0.0, 0.5) * whole.seconds)
    wanted, code = size(record) + at * (whole.size - size(record)), None
    while code is None and size(record) < wanted:
        code = ended(child, 0.005)
    return code


def harm(child: int, fault: str, folder: Path, rng: random.Random, whole: Whole) -> tuple[int, str]:
    """Lets a run suffer a fault at a random moment; returns its exit code and the fault, empty if it came too late."""
    code = await_moment(child, folder, rng, whole)
    while code is None:
        done = strike("SIGKILL" if fault == "flipped bit" else fault, child, folder, rng)
        code = ended(child, PATIENCE_S if done else 0.02)
        if done:
            if code is None:
                os.kill(child, signal.SIGKILL)
                raise Broken(f"hangs after {fault}")
            last = folder / "checkpoints" / "last.pt"
            if fault == "flipped bit":
                if not last.exists():
                    return code, "SIGKILL"
                content = bytearray(last.read_bytes())
                content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
                last.write_bytes(content)
            return code, fault
    return code, ""


def follow_advice(folder: Path, log: Path) -> None:
    """Resumes a run whose only checkpoint is damaged: it is refused, and its advice is taken."""
    code, said = ended(start(resume, [str(folder)], log), PATIENCE_S), log.read_text()
    if code != 1 or not said.endswith(f"delete {folder}/checkpoints and type the same to train from the start\n"):
        raise Broken(f"exit code {code} without a whole checkpoint, and no advice")
    shutil.rmtree(folder / "checkpoints")


def suffer(name: str, folder: Path, rng: random.Random, whole: Whole, data: Path) -> list[str]:
    """Makes a run with faults to its end; returns the faults."""
    log, met = folder.with_suffix(".log"), list[str]()
    last, flipped = folder / "checkpoints" / "last.pt", b""
    rare = {
        "dead worker": any(o.startswith("hardware.workers=") and o[-1] != "0" for o in CONFIGS[name]),
        "dead tracker": "tracking.wandb=offline" in CONFIGS[name],
    }
    first = rng.sample([fault for fault, can in rare.items() if can], sum(rare.values()))
    possible = [fault for fault in FAULTS if rare.get(fault, True)]
    arguments: tuple[Any, list[str]] = (train, [*overrides(name, data), f"hydra.run.dir={folder}"])
    for left in reversed(range(4)):
        before = size(log)
        child = start(*arguments, log)
        fault = (first.pop() if first else rng.choice(possible)) if left else ""
        code, done = harm(child, fault, folder, rng, whole) if fault else (ended(child, PATIENCE_S), "")
        if done:
            met.append(done)
        if code != 0 and code not in CODES.get("SIGKILL" if done in ("flipped bit", "removed file") else done, ()):
            raise Broken(f"exit code {code} after {met or 'nothing'}")
        if "; resume with: " in log.read_text()[before:] and code == 75:
            status = json.loads((folder / "result.json").read_text())["status"]
            if status != "interrupted":
                raise Broken(f"status {status} after exit code 75")
        if done == "flipped bit":
            flipped = last.read_bytes()
        if flipped and not last.with_name("previous.pt").exists() and last.exists() and last.read_bytes() == flipped:
            follow_advice(folder, log)
        if code == 0 and (folder / "result.json").exists():  # not removed just before the end
            return met
        if (folder / ".hydra" / "overrides.yaml").exists():
            arguments = (resume, [str(folder)])
    raise Broken(f"does not finish after {met}")


def leave_alone(name: str, folder: Path, data: Path) -> Whole | None:
    """Makes a run of a configuration without a fault; returns None if it fails."""
    begun = time.monotonic()
    child = start(train, [*overrides(name, data), f"hydra.run.dir='{folder}'"], folder.with_suffix(".log"))
    if ended(child, PATIENCE_S) != 0:
        return None
    return Whole(folder, time.monotonic() - begun, size(folder / "metrics.jsonl"))


def compare(whole: Path, folder: Path) -> None:
    """Raises `Broken` unless both runs left the same weights, samples, rows and result, and nothing else."""
    mine, theirs = (torch.load(run / "checkpoints/last.pt", weights_only=True)["model"] for run in (whole, folder))
    wrong = [key for key in mine if not torch.equal(mine[key], theirs[key])]
    samples, other = (dict(np.load(run / "samples.npz")) for run in (whole, folder))
    wrong += [
        f"samples: {key}"
        for key in samples
        if not np.array_equal(samples[key], other[key], equal_nan=samples[key].dtype.kind == "f")
    ]
    records = [list(map(json.loads, (run / "metrics.jsonl").read_text().splitlines())) for run in (whole, folder)]
    rows = [
        [{k: v for k, v in row.items() if k not in VOLATILE_ROW and not k.startswith("time/")} for row in record]
        for record in records
    ]
    wrong += ["metrics.jsonl"] if rows[0] != rows[1] else []
    results = [json.loads((run / "result.json").read_text()) for run in (whole, folder)]
    wrong += [
        key
        for key in results[0].keys() | results[1].keys()
        if key not in VOLATILE and results[0].get(key) != results[1].get(key)
    ]
    left = [path.name for path in folder.rglob("*") if path.name == ".owner" or path.name.endswith(".part")]
    if wrong or left:
        raise Broken(f"differs in {wrong[:5]}, leaves {left}")


def main() -> int:
    """Runs the soak; returns 1 if a run did not end as it should."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=len(CONFIGS), help="runs that suffer")
    parser.add_argument("--seed", type=int, default=0, help="of the faults and their moments")
    parser.add_argument("--only", nargs="*", choices=CONFIGS, metavar="NAME", help="configurations; default: all")
    args = parser.parse_args()
    os.environ |= {"WANDB_MODE": "offline", "OMP_NUM_THREADS": "1"}
    os.environ.pop("AST_EXPERIMENTS_LAUNCH", None)
    torch.set_num_threads(1)  # a process with threads cannot be forked
    for module in LATE:
        importlib.import_module(module)
    sys.dont_write_bytecode = True  # Python leaves a cut file in its cache when a disk is full
    names = args.only or list(CONFIGS)
    root, faults, broken = Path(tempfile.mkdtemp(prefix="soak-")), Counter[str](), 0
    data, wholes = images(root / "images"), dict[str, Whole]()
    for number in range(args.runs):
        name, folder = names[number % len(names)], root / f"run{number}"
        if name not in wholes and (whole := leave_alone(name, root / f"whole {names.index(name)}", data)):
            wholes[name] = whole
        if name not in wholes:
            print(f"{name}: fails without a fault; see {root}")
            return 1
        try:
            met = suffer(name, folder, random.Random(f"{args.seed} {number}"), wholes[name], data)
            compare(wholes[name].folder, folder)
            said = folder.with_suffix(".log").read_text()
            if "Traceback" in said or "Logging error" in said:
                raise Broken("prints a traceback")
            faults.update(met)
            shutil.rmtree(folder)
            print(f"{number + 1}/{args.runs} {name}: equal after {', '.join(met) or 'no fault'}", flush=True)
        except (Broken, OSError, ValueError, KeyError) as error:
            broken += 1
            print(f"{number + 1}/{args.runs} {name}: {type(error).__name__}: {error}; see {folder}", flush=True)
    told = ", ".join(f"{faults[fault]} {fault}" for fault in FAULTS)
    good = args.runs - broken
    print(f"{good} of {args.runs} runs of {len(wholes)} configurations ended as if left alone; faults: {told}")
    if not broken:
        shutil.rmtree(root)
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
