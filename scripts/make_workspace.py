"""Saves three views of a W&B project: data sets side by side, a study of gains, a study of energy; or a report.

The panels show what runs log, so you can make the views before the first run. The difference between a run and the
dense runs is known only to `ast-compare`; `--compare` writes it into the summaries of the runs, as `relative/...`.

Needs the extra `workspaces` and an API key:

    uv sync --inexact --extra workspaces
    uv run python scripts/make_workspace.py ENTITY/ast-experiments
    uv run python scripts/make_workspace.py ENTITY/ast-experiments --compare outputs/sweeps/SWEEP
    uv run python scripts/make_workspace.py ENTITY/ast-experiments --report GROUP

A report shows the runs of one group (`group=NAME`, or the name of a study) by method: rates against their target,
accuracy against cost, and the kinds of saving. It is saved as a draft.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ast_experiments.cli.main import guarded
from ast_experiments.core.errors import UserError
from ast_experiments.tracking.wandb import api_key_configured

try:
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces.reports.v2.interface import ParallelCoordinatesPlotColumn, Report, Runset
except ModuleNotFoundError as error:
    raise SystemExit(f"error: {error.name} is not installed; type uv sync --inexact --extra workspaces") from None

TOTALS = ("compute/train_flops", "compute/score_flops")

RELATIVE = (
    *(f"points_above_dense{end}" for end in ("", "_low", "_high")),
    *(f"{cost}_saved" for cost in ("flops", "seconds", "joules")),
)
"""Figures of an arm in `compare.json` that every run of the arm gets."""


def views(entity: str, project: str) -> list[ws.Workspace]:
    """Builds the views without saving them."""
    parts = {
        "Data sets side by side": ("progress", ("dataset.name", "method.name"), datasets()),
        "Gains of a controller": ("samples_offered", ("dataset.name",), gains()),
        "Energy": ("epoch", ("dataset.name", "method.name"), energy()),
    }
    return [
        ws.Workspace(
            entity=entity,
            project=project,
            name=name,
            sections=sections,
            settings=ws.WorkspaceSettings(x_axis=axis, max_runs=50),
            runset_settings=ws.RunsetSettings(groupby=[ws.Config(key) for key in groups]),
        )
        for name, (axis, groups, sections) in parts.items()
    ]


def datasets() -> list[ws.Section]:
    """Builds panels that compare runs of different lengths, drawn over their progress."""
    control = {
        "Activation rate": ("epoch/activation_rate", "epoch/target"),
        "Rate that the controller sees": ("control/activation_rate_ema",),
        "Threshold": ("control/threshold",),
    }
    reached = {
        "Accuracy, %": ("val/accuracy",),
        "Rows skipped": ("energy/skipped_share",),
        "FLOPs saved, scoring charged": ("compute/savings",),
    }
    relative = {
        "Points above the dense runs": ("relative/points_above_dense",),
        "FLOPs saved against the dense runs": ("relative/flops_saved",),
        "Seconds saved against the dense runs": ("relative/seconds_saved",),
        "Joules saved against the dense runs": ("relative/joules_saved",),
    }
    return [
        _section("Control", _lines("progress", control)),
        _section("What it reaches, and saves", _lines("progress", reached)),
        _section("Against dense", _bars(relative)),
    ]


def gains() -> list[ws.Section]:
    """Builds panels of controller gains and their effects; `control/kp` is logged for derived gains too."""
    outcomes = {
        "control/rms_error": "RMS rate error",
        "control/settling_rows": "rows until settled",
        "control/overshoot": "overshoot",
        "final_accuracy": "accuracy, %",
        "nominal_savings": "nominal savings",
    }
    columns = [
        *(ParallelCoordinatesPlotColumn(wr.SummaryMetric(f"control/{gain}"), gain, log=True) for gain in ("kp", "ki")),
        *(ParallelCoordinatesPlotColumn(wr.SummaryMetric(key), label) for key, label in outcomes.items()),
    ]
    maps = [
        wr.ScatterPlot(
            title=f"{label} over the gains",
            x=wr.SummaryMetric("control/kp"),
            y=wr.SummaryMetric("control/ki"),
            z=wr.SummaryMetric(key),
            log_x=True,
            log_y=True,
        )
        for key, label in outcomes.items()
    ]
    curves = {
        "Rate that the controller sees": ("control/activation_rate_ema", "control/target"),
        "Threshold": ("control/threshold",),
        "Proportional term": ("control/proportional",),
        "Integral term": ("control/integral",),
    }
    return [
        _section(
            "Gains and outcomes", [wr.ParallelCoordinatesPlot(columns=columns, title="Gains and outcomes"), *maps]
        ),
        _section("Control", _lines("samples_offered", curves)),
    ]


def energy() -> list[ws.Section]:
    """Builds panels of joules and FLOPs against accuracy; panels of unmeasured figures stay empty."""
    spent = {
        "energy/gpu_joules": "joules of the GPU",
        "energy/cpu_joules": "joules of the processor",
        "flops/train": "FLOPs of training",
        "flops/score": "FLOPs of scoring",
    }
    against = [
        wr.ScatterPlot(title=f"Accuracy, %, by {label}", x=wr.SummaryMetric(key), y=wr.SummaryMetric("final_accuracy"))
        for key, label in spent.items()
    ]
    curves = {
        "Joules of the GPU": ("energy/gpu_joules", "energy/gpu_joules_above_idle"),
        "Joules of the processor": ("energy/cpu_joules",),
        "Power of the GPU, W": ("energy/gpu_power_w",),
        "FLOPs": TOTALS,
        "Seconds": ("time/train_s", "time/score_s", "time/data_wait_s", "time/val_s"),
    }
    saved = {
        "Savings: nominal, counted": ("nominal_savings", "compute_savings"),
        "Joules saved": ("relative/joules_saved",),
    }
    return [
        _section("Accuracy against cost", against),
        _section("Cost over the run", _lines("epoch", curves)),
        _section("Saved", _bars(saved)),
    ]


def report(entity: str, project: str, group: str) -> Report:
    """Builds the report on a group of runs without saving it."""
    runs = Runset(
        entity=entity,
        project=project,
        name=group,
        filters=f"Metric('Group') == {group!r}",
        groupby=["config.method.name"],
    )
    rates = {
        "Activation rate by epoch, and its target": ("epoch/activation_rate", "epoch/target"),
        "Rate that the controller sees": ("control/activation_rate_ema", "control/target"),
    }
    reached = {"Accuracy, %": ("val/accuracy",), "FLOPs of training and scoring": TOTALS}
    saved = {
        "Nominal: a formula of the rate, no energy": ("nominal_savings",),
        "Counted: FLOPs, scoring charged": ("compute_savings",),
        "Measured: joules against the dense runs": ("relative/joules_saved",),
    }
    against = [
        wr.ScatterPlot(title=f"Accuracy, %, by {label}", x=wr.SummaryMetric(key), y=wr.SummaryMetric("final_accuracy"))
        for key, label in (("flops/train", "FLOPs of training"), ("energy/gpu_joules", "joules of the GPU"))
    ]
    parts = (
        ("Rates", "Rows trained / rows offered. Runs are grouped by method.", _lines("progress", rates)),
        ("Accuracy against cost", "Compare arms at equal cost.", [*against, *_lines("progress", reached)]),
        (
            "Savings",
            "Three kinds that must not be mixed. A saving counts at equal accuracy: ast-compare says whether it does.",
            _bars(saved),
        ),
    )
    blocks: list[Any] = []
    for title, text, panels in parts:
        blocks += [wr.H2(title), wr.P(text), wr.PanelGrid(runsets=[runs], panels=panels)]
    return Report(entity=entity, project=project, title=f"{group}: rates, accuracy and savings", blocks=blocks)


def relative(folders: Sequence[Path]) -> Iterator[tuple[str, dict[str, float]]]:
    """Yields the id and the `relative/...` figures of every run that `ast-compare` can compare with dense runs."""
    from ast_experiments.comparison.compare import compare
    from ast_experiments.comparison.export import figures
    from ast_experiments.comparison.runs import load

    loaded = load(folders)
    for name in sorted({run.dataset for run in loaded.runs}):
        comparison = compare(loaded, name)
        for results in comparison.results:
            found = figures(comparison, results)
            summary = {f"relative/{key}": found[key] for key in RELATIVE if key in found}
            for run in results.arm.runs if summary else ():
                yield run.record.result["run_id"], summary


def push(found: Iterator[tuple[str, dict[str, float]]], run: Callable[[str], Any]) -> int:
    """Writes figures into the summaries of runs.

    Args:
        found: Id and figures of each run.
        run: Returns the run of W&B's public API with an id.

    Returns:
        Number of runs that got figures.
    """
    count = 0
    for count, (run_id, summary) in enumerate(found, start=1):  # noqa: B007 - counted to the end
        run(run_id).summary.update(summary)
    return count


def _lines(x: str, panels: dict[str, tuple[str, ...]]) -> list[Any]:
    return [wr.LinePlot(title=title, x=x, y=list(keys), title_x=x) for title, keys in panels.items()]


def _bars(panels: dict[str, tuple[str, ...]]) -> list[Any]:
    return [wr.BarPlot(title=title, metrics=list(keys)) for title, keys in panels.items()]


def _section(name: str, panels: list[Any]) -> ws.Section:
    return ws.Section(name=name, panels=panels, is_open=True)


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", metavar="ENTITY/PROJECT")
    parser.add_argument("--compare", nargs="+", type=Path, default=[], metavar="RUNS", help="directories of runs")
    parser.add_argument("--report", metavar="GROUP", help="save a report on a group of runs, and no views")
    parser.add_argument("--show", action="store_true", help="print the views as JSON and save nothing")
    args = parser.parse_args()
    entity, _, project = args.project.partition("/")
    if not (entity and project) or "/" in project:
        raise UserError(f"{args.project}: expected ENTITY/PROJECT; type e.g. {entity or 'ENTITY'}/ast-experiments")
    made = [report(entity, project, args.report)] if args.report else views(entity, project)
    if args.show and not args.report:
        print(
            json.dumps([view._to_model().spec.model_dump(by_alias=True, exclude_none=True) for view in made], indent=1)
        )
        return 0
    if not api_key_configured():
        raise UserError("W&B has no API key; set WANDB_API_KEY or run `wandb login`")
    import wandb

    try:
        for view in made:
            view.save(**({"draft": True} if args.report else {}))
            print(view.url)
        if args.compare:
            api = wandb.Api()
            count = push(relative(args.compare), lambda run_id: api.run(f"{entity}/{project}/{run_id}"))
            print(f"{count} runs got figures relative to the dense runs")
    except wandb.Error as error:
        raise UserError(f"W&B: {str(error).splitlines()[0] if str(error) else type(error).__name__}") from error
    return 0


if __name__ == "__main__":
    raise SystemExit(guarded(_main))
