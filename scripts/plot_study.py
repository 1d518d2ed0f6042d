"""Draws accuracy against FLOPs of a kept study, for light and dark pages, and prints what the picture shows.

    python scripts/plot_study.py docs/measurements/speedrun_half_width_study.json docs/images/speedrun

Writes NAME_light.svg and NAME_dark.svg. The line joins dense training of two lengths: a method pays where it is above.
Bars are 95 % intervals over seeds; differences are paired by seed.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from ast_experiments.comparison.stats import interval, saving_on_line

NAMES = {
    "dense": "dense, 10 epochs",
    "dense epochs=6": "dense, 6 epochs",
    "rs2": "uniform draw (rs2), the rates of AST",
    "infobatch": "InfoBatch, 8 epochs",
    "ast": "AST on stale losses",
}
SHAPES = {"dense": "o", "dense epochs=6": "o", "rs2": "s", "infobatch": "D", "ast": "*"}
KINDS = {"accuracy": "plain accuracy, %", "accuracy_views": "accuracy with six views, %"}
THEMES = {
    "light": {
        "page": "#ffffff",
        "ink": "#1f2328",
        "rule": "#d0d7de",
        "dense": "#57606a",
        "rs2": "#bc4c00",
        "infobatch": "#8250df",
        "ast": "#0550ae",
    },
    "dark": {
        "page": "#0d1117",
        "ink": "#e6edf3",
        "rule": "#3d444d",
        "dense": "#9198a1",
        "rs2": "#f0883e",
        "infobatch": "#d2a8ff",
        "ast": "#79c0ff",
    },
}

Arms = Mapping[str, list[dict[str, Any]]]


def final_runs(study: Mapping[str, Any]) -> Arms:
    """Returns the runs that were judged on the test set, by arm, in the order of `NAMES`, sorted by seed."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for run in sorted(study["runs"], key=lambda run: run["seed"]):
        if run["judged_on"] == "test set":
            found[run["arm"]].append(run)
    return {arm: found[arm] for arm in NAMES if arm in found}


def draw(arms: Arms, theme: str, path: Path) -> None:
    """Draws the picture for one theme."""
    colors = THEMES[theme]
    figure = Figure(figsize=(8.4, 3.5), layout="constrained")
    panels = figure.subplots(1, len(KINDS), sharey=True)
    for axes, (kind, label) in zip(panels, KINDS.items(), strict=True):
        cost = {arm: interval([run["pflop_train"] for run in runs]).mean for arm, runs in arms.items()}
        found = {arm: interval([run[kind] for run in runs]) for arm, runs in arms.items()}
        dense = [arm for arm in ("dense epochs=6", "dense") if arm in arms]
        line = [found[arm].mean for arm in dense]
        axes.plot([cost[arm] for arm in dense], line, color=colors["dense"], linewidth=1, linestyle="--", zorder=1)
        for at, (arm, each) in enumerate(found.items()):
            color = colors[arm.partition(" ")[0]]
            shift = 0.0 if arm == "dense" else 0.0009 * (at - 2.5)  # arms of equal cost side by side
            half = [each.high - each.mean] if each.shown else None
            size = 13 if arm == "ast" else 6.5
            style = {"marker": SHAPES[arm], "markersize": size, "color": color, "capsize": 2, "linestyle": "none"}
            axes.errorbar(cost[arm] + shift, each.mean, half, label=NAMES[arm], **style)
        axes.set_facecolor(colors["page"])
        axes.set_xlabel("training, PFLOP", color=colors["ink"])
        axes.set_ylabel(label, color=colors["ink"])
        axes.tick_params(color=colors["rule"], labelcolor=colors["ink"])
        axes.grid(color=colors["rule"], linewidth=0.5)
        axes.set_axisbelow(True)
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(colors["rule"])
        axes.margins(0.09)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=3, frameon=False, labelcolor=colors["ink"], fontsize=9
    )
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "ast"}):
        figure.savefig(path, facecolor=colors["page"], metadata={"Date": None})


def table(arms: Arms) -> None:
    """Prints accuracy and cost of each arm, and how far AST is above the others, paired by seed."""
    seeds = {arm: [run["seed"] for run in runs] for arm, runs in arms.items()}
    for arm, runs in arms.items():
        flops = interval([run["pflop_train"] for run in runs]).mean
        print(f"{NAMES[arm]}: {flops:.4f} PFLOP, seeds {seeds[arm]}")
        for kind in KINDS:
            each = interval([run[kind] for run in runs])
            both = sorted(set(seeds[arm]) & set(seeds["ast"]))
            value = [{run["seed"]: run[kind] for run in of} for of in (arms["ast"], runs)]
            gap = interval([value[0][seed] - value[1][seed] for seed in both])
            above = "" if arm == "ast" else f"; AST {gap.mean:+.2f} [{gap.low:+.2f}, {gap.high:+.2f}], {gap.n} pairs"
            print(f"  {kind}: {each.mean:.2f} +- {each.high - each.mean:.2f}{above}")


def saving(arms: Arms) -> None:
    """Prints the FLOPs that AST saves at equal accuracy against the line between the two dense arms, by seed."""
    for kind in KINDS:
        shares = []
        value = {arm: {run["seed"]: run for run in arms[arm]} for arm in ("ast", "dense", "dense epochs=6")}
        for seed in sorted(set.intersection(*(set(each) for each in value.values()))):
            ast, long, short = (value[arm][seed] for arm in ("ast", "dense", "dense epochs=6"))
            ours, cheaper, costlier = ((run[kind], run["pflop_train"]) for run in (ast, short, long))
            shares.append(100 * saving_on_line(ours, cheaper, costlier))
        each = interval(shares)
        print(f"FLOPs saved at equal {kind}, by the line of dense: {each.mean:.1f} % [{each.low:.1f}, {each.high:.1f}]")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("name", type=Path)
    options = parser.parse_args()
    arms = final_runs(json.loads(options.study.read_text(encoding="utf-8")))
    table(arms)
    saving(arms)
    options.name.parent.mkdir(parents=True, exist_ok=True)
    for theme in THEMES:
        draw(arms, theme, options.name.with_name(f"{options.name.name}_{theme}.svg"))


if __name__ == "__main__":
    main()
