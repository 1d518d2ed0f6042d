"""How much sooner a study ends with `jobs=2`, and whether it says the same.

    python scripts/bench_jobs.py [SETTING...]

Runs one study twice, one run after another and two at once, in processes of one thread on a machine that should do
nothing else, and prints both wall times, their ratio, and whether accuracies and verdicts are equal.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

STUDY = ["methods=[ast,random]", "seeds=3", "hardware.threads=1", "tracking=jsonl", "tracking.report=false"]
JOBS = 2


def bench(folder: Path, name: str, *arguments: str) -> tuple[float, dict[str, Any]]:
    """The wall time of a study, and what it says: accuracies by run, verdicts by arm."""
    begun = time.monotonic()
    command = [sys.executable, "-m", "ast_experiments.cli.bench", f"name={name}", *STUDY, *arguments]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    took, study = time.monotonic() - begun, folder / "outputs/studies" / name
    results = {path.parent: json.loads(path.read_text()) for path in sorted(study.glob("runs/*/*/result.json"))}
    said: dict[str, Any] = {f"{run.relative_to(study)}": found["final_accuracy"] for run, found in results.items()}
    compared = json.loads((study / "compare.json").read_text())
    said |= {f"verdict of {arm['arm']}": arm["verdict"] for each in compared for arm in each["arms"]}
    return took, said


def main() -> None:
    """Runs both and prints the comparison."""
    with tempfile.TemporaryDirectory() as folder:
        alone, one = bench(Path(folder), "serial", *sys.argv[1:])
        together, two = bench(Path(folder), "parallel", f"jobs={JOBS}", *sys.argv[1:])
    print(f"one after another {alone:.1f} s, jobs={JOBS} {together:.1f} s, ratio {together / alone:.2f}")
    print("accuracies and verdicts are equal" if one == two else "accuracies or verdicts differ")


if __name__ == "__main__":
    main()
