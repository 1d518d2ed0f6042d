"""Compare the suspected wrong labels of finished runs with those that the data's regime made wrong.

    python scripts/score_suspects.py RUN_DIRECTORY... [--json docs/measurements/wrong_labels.json]

The runs may be on clean data too, for the estimate. Prints a row for each run: true share of wrong labels, estimate and
interval, number of suspects, and the share of wrong labels among the first 100 and 1000 of the list and among the
suspects. A file keeps this with the commands, in the order of the arguments.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from ast_experiments.runs.record import SAMPLES, read_result
from ast_experiments.selection.suspects import suspects

FIRST = (100, 1000)
NOT_OF_THE_RUN = ("hydra.run.dir=", "tracking", "group=", "tags=", "dataset.root=")


def score(run: Path) -> dict[str, Any]:
    """The figures of one run."""
    result = read_result(run)
    with np.load(run / SAMPLES, allow_pickle=False) as file:
        columns = {key: file[key] for key in file.files}
    wrong = columns.get("label_noise", np.zeros(len(columns["id"]), bool))
    listed = suspects(columns["label"], columns["predicted"], columns["margin"])
    estimate = result["label_noise_estimate"]
    marked = listed[: estimate["suspects"]]
    precision = {f"precision_{count}": float(wrong[listed[:count]].mean()) for count in FIRST if len(listed) >= count}
    return {
        "command": " ".join(["ast-train", *(o for o in result["overrides"] if not o.startswith(NOT_OF_THE_RUN))]),
        "method": result["method"],
        "seed": result["seed"],
        "commit": result["commit"],
        "data_fingerprint": result["data_fingerprint"],
        "samples": len(wrong),
        "rows_trained": result["rows_trained"],
        "accuracy": round(result["final_accuracy"], 3),
        "wrong": float(wrong.mean()),
        **{f"estimate_{key}": round(estimate[key], 5) for key in ("share", "low", "high")},
        "suspects": estimate["suspects"],
        **({key: round(value, 5) for key, value in precision.items()} if wrong.any() else {}),
        **({"precision_all": round(float(wrong[marked].mean()), 5)} if wrong.any() and len(marked) else {}),
    }


def main() -> None:
    """Print the table, and write it if a file is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = [score(run) for run in args.runs]
    keys = ("method", "wrong", "estimate_share", "estimate_low", "estimate_high", "suspects")
    keys += (*(f"precision_{count}" for count in FIRST), "precision_all", "accuracy")
    print(" ".join(f"{key.removeprefix('estimate_'):>14}" for key in keys))
    for row in rows:
        texts = (row.get(key, "") for key in keys)
        print(" ".join(f"{text:14.3f}" if isinstance(text, float) else f"{text:>14}" for text in texts))
    if args.json is not None:
        args.json.write_text(json.dumps({"title": "Suspected wrong labels", "runs": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
