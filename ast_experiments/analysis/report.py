"""The self-contained page of one run, `report.html`.

`python -m ast_experiments.analysis.report RUN_DIR` rewrites it from the run's files.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ast_experiments.analysis.curves import panels
from ast_experiments.analysis.draw import svg
from ast_experiments.analysis.finding import run_finding
from ast_experiments.analysis.page import REPORT, embed, render
from ast_experiments.analysis.samples import read_samples, sample_section
from ast_experiments.core.files import short_path, write_atomic
from ast_experiments.core.privacy import without_places
from ast_experiments.core.text import duration, joules
from ast_experiments.runs.record import CONFIG, RunRecord, read_run
from ast_experiments.selection.suspects import no_estimate
from ast_experiments.tracking.summary import result_facts, row_energy, shared_text


def write_report(run_dir: str | os.PathLike[str]) -> Path:
    """Writes `report.html` into a run directory, whatever the state of the run.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError: If `run_dir` contains none of a run's files.
    """
    record = read_run(run_dir)
    return write_atomic(record.directory / REPORT, render_report(record))


def render_report(record: RunRecord) -> str:
    """Renders the page of a run as HTML."""
    tracking = record.config.get("tracking")
    paths = isinstance(tracking, Mapping) and tracking.get("paths") is True
    figures = summary(record) if paths else without_places(summary(record))
    config = record.directory / CONFIG
    samples = read_samples(record.directory, record.result)
    charts = [(panel.title, panel.caption, svg(panel, salt=f"{i}")) for i, panel in enumerate(panels(record))]
    return render(
        "report.html.j2",
        paths=paths,
        title=run_title(figures, record.directory),
        subtitle=_subtitle(figures, record.directory),
        status=record.status,
        finding=run_finding(figures),
        stopped=_stopped(figures, record.directory),
        error=figures.get("error"),
        notes=figures.get("notes") or (),
        cards=_cards(figures),
        facts=result_facts(figures),
        charts=embed(charts),
        samples=None if samples is None else sample_section(samples),
        config=config.read_text(encoding="utf-8", errors="replace") if config.is_file() else "",
        origin=_origin(figures),
        figures=_figures(figures),
    )


def summary(record: RunRecord) -> dict[str, Any]:
    """Returns the result of a run; without one, the figures that its rows and its configuration give."""
    found: dict[str, Any] = {"status": record.status}
    # A result says None of a controller or significance that the method does not use; the configuration names one.
    unused = [key for key in ("controller", "significance") if record.result.get(key, "") is None]
    for key in ("dataset", "model", "method", "controller", "significance"):
        if key in unused:
            continue
        choice = record.config.get(key)
        name = choice.get("name") if isinstance(choice, Mapping) else choice
        if isinstance(name, str):
            found[key] = name
    if record.epochs:
        found |= _from_rows(record.epochs)
    found |= {key: value for key, value in record.result.items() if value is not None}
    if no_estimate(found):
        found.pop("label_noise_estimate", None)
    return found


def run_title(figures: Mapping[str, Any], directory: Path) -> str:
    """Returns "method on dataset, model", or the directory's name if these are unknown."""
    if "method" not in figures or "dataset" not in figures:
        return directory.resolve().name
    return f"{figures['method']} on {figures['dataset']}" + (f", {figures['model']}" if figures.get("model") else "")


def _subtitle(figures: Mapping[str, Any], directory: Path) -> str:
    facts = [f"{key} {figures[key]}" for key in ("controller", "significance", "seed") if key in figures]
    return " · ".join([*facts, directory.resolve().name])


def _stopped(figures: Mapping[str, Any], directory: Path) -> str:
    """Says why an interrupted run has stopped and how to resume it; empty for any other run."""
    if figures["status"] != "interrupted":
        return ""
    why = str(figures.get("error") or "interrupted").rstrip(": .")
    line = f"{why[:1].upper()}{why[1:]}."
    # A loop of your own resumes by its own means.
    return line if figures.get("recipe") == "own" else f"{line} Resume: ast-resume {short_path(directory)}"


def _from_rows(epochs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    last = epochs[-1]
    found = {"epochs": last.get("epoch"), "steps": last.get("step")}
    scored = [row for row in epochs if "val/accuracy" in row]
    if scored:
        best = max(scored, key=lambda row: row["val/accuracy"])
        found |= {
            "final_accuracy": scored[-1]["val/accuracy"],
            "best_accuracy": best["val/accuracy"],
            "best_epoch": best.get("epoch"),
        }
    found |= {f"rows_{each}": last.get(f"rows/{each}") for each in ("trained", "scored", "offered")}
    found |= {each: last.get(f"energy/{each}") for each in ("nominal_savings", "skipped_share")}
    found["target"] = last.get("epoch/target")
    found["seconds"] = {
        key.removeprefix("time/").removesuffix("_s"): value for key, value in last.items() if key.startswith("time/")
    }
    found["energy"] = row_energy(last) or None
    return {key: value for key, value in found.items() if value is not None}


def _cards(figures: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Returns (label, figure, note) of each headline figure that is known."""
    cards = []
    if "final_accuracy" in figures:
        best = figures.get("best_accuracy")
        cards.append(
            (
                "accuracy",
                f"{figures['final_accuracy']:.2f} %",
                f"best {best:.2f} %" if best is not None else "",
            )
        )
    rate, late = figures.get("mean_activation_rate"), figures.get("last_quarter_activation_rate")
    rate, late = (late, None) if rate is None else (rate, late)
    if rate is not None:
        target = figures.get("last_quarter_target", figures.get("target"))
        notes = [
            "" if late is None else f"last quarter {late:.3f}",
            "no target" if target is None else f"target {target:.3f}",
        ]
        cards.append(("activation rate", f"{rate:.3f}", ", ".join(filter(None, notes))))
    if figures.get("compute_savings") is not None and figures.get("method") != "dense":
        cards.append(
            ("FLOPs saved", f"{100 * figures['compute_savings']:.1f} %", "counted; against training every row")
        )
    seconds = figures.get("seconds") or {}
    if seconds:
        whole, setup = sum(seconds.values()), seconds.get("setup", 0.0)
        parts = f"{duration(seconds.get('train', 0.0))} in training; set-up {duration(setup)} more"
        cards.append(
            (
                "time",
                duration(whole - setup),
                "; ".join(filter(None, (parts, shared_text(figures)))),
            )
        )
    if not cards:
        return cards
    energy = figures.get("energy") or {}
    for device, key, source in (("GPU", "gpu_joules", "source"), ("CPU", "cpu_joules", "cpu_source")):
        if energy.get(key) is not None:
            cards.append((f"energy, {device}", joules(energy[key]), energy.get(source) or ""))
    if not any("joules" in key for key in energy):
        cards.append(("energy", "not measured", "no meter"))
    return cards


def _origin(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns where the run comes from: ids, code, settings and machine."""
    keys = ("run_id", "seed", "group", "tags", "commit", "config_hash", "overrides", "hardware", "versions")
    return [(key.replace("_", " "), _text(figures[key])) for key in keys if figures.get(key) not in (None, [], {})]


def _figures(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns every figure of the result."""
    return [(key, _text(value)) for key, value in figures.items() if key not in {"error", "notes"}]


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return "\n".join(f"{key}: {_text(each)}" for key, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return value if isinstance(value, str) else json.dumps(value, default=str)


def main() -> None:
    """Writes the report of the run directory given on the command line."""
    parser = argparse.ArgumentParser(prog="python -m ast_experiments.analysis.report", description=write_report.__doc__)
    parser.add_argument("run_dir", type=Path)
    try:
        print(write_report(parser.parse_args().run_dir))
    except FileNotFoundError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
