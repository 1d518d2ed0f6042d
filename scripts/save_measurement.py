"""Keep the figures of finished runs as one small JSON file.

    python scripts/save_measurement.py docs/measurements/NAME.json --title "What was measured" RUN_DIRECTORY...

The runs must differ in nothing but their seed, or with `--arms` in their command too. The file holds the command
without the seed, where it ran, and for each run the accuracy (plain, and by six views where they were evaluated), the
rows and the FLOPs. Seconds are kept only with `--seconds`, because they mean nothing on a machine that other programs
used at the same time.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

NOT_OF_THE_RUN = ("seed=", "hydra.run.dir=", "tracking", "group=", "tags=", "dataset.root=")
"""Beginnings of overrides that do not belong to the command in the file."""


def command(result: dict[str, Any]) -> str:
    """The command of a run, without its seed and its places."""
    return " ".join(["ast-train", *(o for o in result["overrides"] if not o.startswith(NOT_OF_THE_RUN))])


def figures(result: dict[str, Any], seconds: bool) -> dict[str, Any]:
    """The figures of one run."""
    chosen: dict[str, Any] = {
        "seed": result["seed"],
        "accuracy": round(result["final_accuracy"], 3),
        "accuracy_views": result.get("final_accuracy_views"),
        "rows_trained": result["rows_trained"],
        "epochs": result["epochs"],
        "pflop_train": round(result["flops"]["train"] / 1e15, 5),
        "pflop_score": round(result["flops"]["score"] / 1e15, 5),
    }
    return chosen | ({"train_seconds": result["seconds"]["train"]} if seconds else {})


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and sample standard deviation over the seeds."""
    found: dict[str, Any] = {}
    for key in ("accuracy", "accuracy_views", "pflop_train"):
        values = [run[key] for run in runs if run[key] is not None]
        if values:
            spread = statistics.stdev(values) if len(values) > 1 else None
            found[key] = {"mean": round(statistics.mean(values), 5), "sd": spread and round(spread, 5)}
    return found


def arms(results: list[dict[str, Any]], title: str, seconds: bool) -> dict[str, Any]:
    """The content of a file about several commands: what they share, and figures by command."""
    by_command: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        by_command.setdefault(command(result), []).append(result)
    each = [measurement(runs, title, seconds) for runs in by_command.values()]
    for found in each:
        for key in ("data_fingerprint", "train_samples", "val_samples"):
            if found[key] != each[0][key]:
                raise SystemExit(f"{found['command']}: {key} is {found[key]}, not {each[0][key]}")
    own = ("command", "summary", "runs")
    shared = {key: value for key, value in each[0].items() if key not in own}
    return shared | {"arms": [{key: found[key] for key in own} for found in each]}


def measurement(results: list[dict[str, Any]], title: str, seconds: bool) -> dict[str, Any]:
    """The content of a file about one command.

    Raises:
        SystemExit: If a run is not finished, or two differ in more than the seed.
    """
    for result in results:
        if result["status"] != "finished":
            raise SystemExit(f"{result['folder']}: {result['status']}, not finished")
        for key in ("data_fingerprint", "train_samples", "val_samples"):
            if result[key] != results[0][key]:
                raise SystemExit(f"{result['folder']}: {key} is {result[key]}, not {results[0][key]}")
        if command(result) != command(results[0]):
            raise SystemExit(f"{result['folder']}: {command(result)}\nis another command than\n{command(results[0])}")
    results = sorted(results, key=lambda result: result["seed"])
    runs = [figures(result, seconds) for result in results]
    return {
        "title": title,
        "command": command(results[0]),
        "summary": summary(runs),
        "runs": runs,
        "train_samples": results[0]["train_samples"],
        "val_samples": results[0]["val_samples"],
        "data_fingerprint": results[0]["data_fingerprint"],
        "hardware": {key: results[0]["hardware"][key] for key in ("cpu", "device", "precision", "threads")},
        "versions": results[0]["versions"],
        "commits": sorted({result["commit"] for result in results if result["commit"]}),
    }


def main() -> None:
    """Read the runs and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--title", required=True)
    parser.add_argument("--seconds", action="store_true")
    parser.add_argument("--arms", action="store_true", help="the runs have several commands")
    parser.add_argument("--commit", help="where the same code is found, if the runs used a copy of another commit")
    options = parser.parse_args()
    results = [json.loads((folder / "result.json").read_text(encoding="utf-8")) for folder in options.runs]
    content = (arms if options.arms else measurement)(results, options.title, options.seconds)
    if options.commit:
        content["commits"] = [options.commit]
    options.file.parent.mkdir(parents=True, exist_ok=True)
    options.file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(json.dumps([arm["summary"] for arm in content["arms"]] if options.arms else content["summary"]))


if __name__ == "__main__":
    main()
