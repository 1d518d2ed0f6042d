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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ast_experiments.cli import resume, train
from ast_experiments.runs.result import VOLATILE, VOLATILE_ROW

BASE = (
    "tracking=jsonl", "tracking.console=false", "tracking.report=false", "hardware=cpu", "hardware.threads=1",
    "energy=nominal", "checkpoint_every_s=0.1", "dataset.train_rows=320", "recipe.epochs=8",
)  # fmt: skip
FOLDER = (
    "dataset=folder", "dataset.size=16", "model=simple_cnn", "recipe=sgd",
    "recipe.batch_size=16", "recipe.warmup_epochs=0", "recipe.lr=0.01", "recipe.epochs=6",
)  # fmt: skip
CONFIGS: dict[str, tuple[str, ...]] = {
    "dense": ("method=dense",),
    "random": ("method=random",),
    "rs2": ("method=rs2", "method.rate=0.7"),
    "curriculum": ("method=curriculum",),
    "infobatch": ("method=infobatch",),
    "selective_backprop": ("method=selective_backprop", "method.fresh_every=2"),
    "selective_backprop_fresh": ("method=selective_backprop_fresh",),
    "orderdp": ("method=orderdp",),
    "loss_drop": ("method=loss_drop",),
    "seta": ("method=seta",),
    "kakurenbo": ("method=kakurenbo", "recipe.lr=0.01"),
    "rho_loss": ("method=rho_loss", "holdout=0.2", "method.rate=0.3", "method.irreducible_epochs=2"),
    "proxy": ("method=proxy", "method.rate=0.4", "method.proxy_every=2"),
    "ast": (),
    "ast, average and clipping": ("recipe.ema_decay=0.9", "recipe.clip_grad=1.0", "tracking.log_every=7"),
    "ast_fresh": ("method=ast_fresh",),
    "ast_masked": ("method=ast_masked",),
    "arrays in workers": ("hardware.data_on_device=false", "hardware.workers=1"),
    "image files in workers": (*FOLDER, "hardware.workers=2"),
    "image files, dense": (*FOLDER, "hardware.workers=0", "method=dense"),
    "W&B": ("tracking.wandb=offline",),
    "W&B, arrays in workers": ("tracking.wandb=offline", "hardware.data_on_device=false", "hardware.workers=2"),
}
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


def start(module: Any, arguments: Sequence[str], log: Path) -> int:
    """Forks a process that runs a command; returns its number."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.argv = [f"ast-{module.__name__.rpartition('.')[2]}", *arguments]
        module.main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def ended(child: int, seconds: float) -> int | None:
    """Waits for a process; returns its exit code, negative for a signal, or None if it still runs."""
    until = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= until:
            return None
        time.sleep(0.002)


def children(parent: int, word: str = "") -> list[int]:
    """Returns the child processes of a process whose command line contains a word."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            ppid = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if ppid == parent and word.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


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
        if not path.exists() or not (folder / ".hydra" / "config.yaml").exists():
            return False
        path.unlink()
        if path.name != "metrics.jsonl":  # the run goes on from what is in memory; what is resumed needs the file
            os.kill(child, signal.SIGKILL)
    return True


def harm(child: int, fault: str, folder: Path, rng: random.Random, length: float) -> tuple[int, str]:
    """Lets a run suffer a fault at a random moment; returns its exit code and the fault, empty if it came too late."""
    code = ended(child, rng.uniform(0.0, 0.9) * length)
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


def suffer(name: str, folder: Path, rng: random.Random, length: float, data: Path) -> list[str]:
    """Makes a run with faults to its end; returns the faults."""
    log, met = folder.with_suffix(".log"), list[str]()
    rare = {
        "dead worker": any(o.startswith("hardware.workers=") and o[-1] != "0" for o in CONFIGS[name]),
        "dead tracker": "tracking.wandb=offline" in CONFIGS[name],
    }
    first = rng.sample([fault for fault, can in rare.items() if can], sum(rare.values()))
    possible = [fault for fault in FAULTS if rare.get(fault, True)]
    arguments: tuple[Any, list[str]] = (train, [*overrides(name, data), f"hydra.run.dir={folder}"])
    for left in reversed(range(4)):
        child = start(*arguments, log)
        fault = (first.pop() if first else rng.choice(possible)) if left else ""
        code, done = harm(child, fault, folder, rng, length) if fault else (ended(child, PATIENCE_S), "")
        if done:
            met.append(done)
        if code != 0 and code not in CODES.get("SIGKILL" if done in ("flipped bit", "removed file") else done, ()):
            raise Broken(f"exit code {code} after {met or 'nothing'}")
        status = json.loads((folder / "result.json").read_text())["status"] if code == 75 else "interrupted"
        if status != "interrupted":
            raise Broken(f"status {status} after exit code 75")
        if code == 0 and not (folder / "result.json").exists():
            code = 1  # removed just before the end
        if code == 0:
            return met
        if (folder / ".hydra" / "overrides.yaml").exists():
            arguments = (resume, [str(folder)])
    raise Broken(f"does not finish after {met}")


def overrides(name: str, data: Path) -> list[str]:
    """Returns the overrides of a configuration."""
    own = list(CONFIGS[name])
    return [*(o for o in BASE if o.partition("=")[0] not in {o.partition("=")[0] for o in own}
              and not (own[:1] == ["dataset=folder"] and o.startswith("dataset."))),
            *own, *([f"dataset.root={data}"] if own[:1] == ["dataset=folder"] else [])]  # fmt: skip


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


def images(folder: Path) -> Path:
    """Writes a small data set of image files: 6 classes, 20 training and 4 validation images each."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for split, count in (("train", 20), ("val", 4)):
        for label in range(6):
            place = folder / split / f"class{label}"
            place.mkdir(parents=True)
            for number in range(count):
                pixels = rng.normal(40 + 30 * label, 20, (20, 24, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(place / f"{number}.png")
    return folder


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
    data, lengths = images(root / "images"), dict[str, float]()
    for number in range(args.runs):
        name, folder = names[number % len(names)], root / f"run{number}"
        whole = root / f"whole {names.index(name)}"
        if name not in lengths:
            begun = time.monotonic()
            if (
                code := ended(
                    start(train, [*overrides(name, data), f"hydra.run.dir='{whole}'"], root / "whole.log"), PATIENCE_S
                )
            ) != 0:
                print(f"{name}: exit code {code} without a fault; see {root / 'whole.log'}")
                return 1
            lengths[name] = time.monotonic() - begun
        try:
            met = suffer(name, folder, random.Random(f"{args.seed} {number}"), lengths[name], data)
            compare(whole, folder)
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
    print(f"{good} of {args.runs} runs of {len(lengths)} configurations ended as if left alone; faults: {told}")
    if not broken:
        shutil.rmtree(root)
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
