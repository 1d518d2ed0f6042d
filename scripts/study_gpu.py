"""Studies in joules on one NVIDIA GPU, and the cost of this project's loop there.

    python scripts/study_gpu.py                     everything; typed again, it resumes where it stopped
    python scripts/study_gpu.py airnet loop         some parts
    python scripts/study_gpu.py --small             the same with a few rows, to try the script anywhere

Parts: `airnet` and `resnet18` are studies on CIFAR-10 with five seeds, three learning rates tried for each arm, and
three baselines at each method's cost in joules. `loop` compares the dense path with a bare loop (goal: 0.97 or better),
`photographs` does so with decoding (goal: 0.95). Each part writes PART.log in the output directory. The tables of all
parts are printed at the end.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
BENCH = "import sys; from ast_experiments.cli.bench import main; sys.exit(main())"
COMPARE = "import sys; from ast_experiments.cli.compare import main; sys.exit(main())"
COMMON = ("seeds=5", "lr_trials=3", "hardware=h100", "tracking=jsonl", "tracking.report=false")

STUDIES = {
    "airnet": (
        "experiment=cifar10_speedrun",
        "model.width=1",
        "recipe.batch_size=2000",
        "recipe.lr=0.24",
        "recipe.label_smoothing=0.2",
        "methods=[ast,infobatch]",
    ),
    "resnet18": (
        "experiment=cifar10_stale",
        "model=resnet18_cifar",
        "recipe=sgd",
        "recipe.epochs=18",
        "eval_every=6",
        "methods=[ast:recipe.epochs=30]",
    ),
}
SMALL = (
    "dataset.train_rows=600",
    "dataset.val_rows=100",
    "recipe.batch_size=40",
    "recipe.epochs=4",
    "seeds=3",
    "lr_trials=2",
    "hardware=cpu",
    "model.width=0.1",
)
"""What replaces settings of a study that is to be over soon."""

LOOPS = {
    "loop": ("bench_loop.py", "--rounds", "4"),
    "photographs": ("bench_images.py", "--rounds", "2"),
}


SMALL_LOOP = ("--rounds", "1", "--rows", "2560", "--rates", "0.4")


def study(name: str, out: Path, small: bool) -> list[str]:
    """Returns the command of a study."""
    settings = [*STUDIES[name], *COMMON, f"name={out.name}_{name}", f"cost={'flops' if small else 'joules'}"]
    if small:
        replaced = {each.partition("=")[0]: each for each in SMALL}
        settings = [each for each in settings if each.partition("=")[0] not in replaced]
        settings += [each for each in SMALL if not each.startswith("model.width") or name == "airnet"]
    return [sys.executable, "-c", BENCH, *settings]


def run(command: list[str], log: Path) -> bool:
    """Runs a command with its output in a log; returns whether it succeeded."""
    begun = time.monotonic()
    print(f"{log.stem}: {shlex.join(command)}", flush=True)
    with open(log, "w", encoding="utf-8") as file:
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False)
    print(f"{log.stem}: {time.monotonic() - begun:.0f} s, exit code {done.returncode}", flush=True)
    return done.returncode == 0


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help="airnet, resnet18, loop, photographs; all by default")
    parser.add_argument("--out", type=Path, default=Path("outputs/study_gpu"), help="directory of the logs")
    parser.add_argument("--small", action="store_true", help="a few rows on the CPU")
    args = parser.parse_args()
    unknown = [part for part in args.parts if part not in {**STUDIES, **LOOPS}]
    if unknown:
        parser.error(f"{unknown[0]}: no such part; there are {', '.join({**STUDIES, **LOOPS})}")
    args.out.mkdir(parents=True, exist_ok=True)
    parts, succeeded = args.parts or [*STUDIES, *LOOPS][: 3 if args.small else 4], True  # photographs need their data
    for part in parts:
        command = study(part, args.out, args.small) if part in STUDIES else None
        if command is None:
            script, *arguments = LOOPS[part]
            command = [sys.executable, str(HERE / script), *arguments, *(SMALL_LOOP if args.small else ())]
        succeeded &= run(command, args.out / f"{part}.log")
    for part in parts:
        print(f"\n=== {part}")
        folder = Path("outputs/studies") / f"{args.out.name}_{part}"
        if part in LOOPS:
            print((args.out / f"{part}.log").read_text(encoding="utf-8"))
        elif folder.is_dir():
            axes = ["flops"] if args.small else ["joules", "seconds", "flops"]
            for axis in axes:
                subprocess.run([sys.executable, "-c", COMPARE, str(folder), "--x", axis], check=False)
    return 0 if succeeded else 1


if __name__ == "__main__":
    sys.exit(main())
