"""The saved views of W&B: what their panels draw is what runs log, on any data set."""

from __future__ import annotations

import importlib
import json
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from compare_tools import write_arm

from ast_experiments.config.compose import load_config
from ast_experiments.core.errors import UserError
from ast_experiments.runs.run import execute
from ast_experiments.tracking.rows import flat

pytest.importorskip("wandb_workspaces")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    folder = str(ROOT / "scripts")
    sys.path.insert(0, folder)
    try:
        return importlib.import_module("make_workspace")
    finally:
        sys.path.remove(folder)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["project"], "project: expected ENTITY/PROJECT; type e.g. project/ast-experiments"),
        (["/project", "--show"], "/project: expected ENTITY/PROJECT; type e.g. ENTITY/ast-experiments"),
        (["entity/project"], "W&B: the server is gone"),
    ],
)
def test_what_cannot_be_is_one_line(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    import wandb

    def save(view: object, **how: object) -> None:
        raise wandb.Error("the server is gone\nand more")

    monkeypatch.setattr("sys.argv", ["make_workspace", *arguments])
    monkeypatch.setattr(script, "api_key_configured", lambda: True)
    monkeypatch.setattr(script.ws.Workspace, "save", save)
    with pytest.raises(UserError) as caught:
        script._main()
    assert str(caught.value) == said


def test_without_the_extra_it_is_named(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces.workspaces", None)
    with pytest.raises(SystemExit, match=r"error: .* is not installed; type uv sync --inexact --extra workspaces"):
        runpy.run_path(str(script.__file__))


def metrics_of(spec: Any) -> Iterator[str]:
    """What the panels of a view draw."""
    if isinstance(spec, dict):
        for name in ("xAxis", "yAxis", "zAxis", "metrics", "accessor"):
            found = spec.get(name) or []
            yield from [found] if isinstance(found, str) else found
        for value in spec.values():
            yield from metrics_of(value)
    elif isinstance(spec, list):
        for value in spec:
            yield from metrics_of(value)


def logged(folder: Path) -> tuple[set[str], set[str]]:
    """Keys of the rows and keys of the summary, which also has the last value of every row's key."""
    rows = {key for line in (folder / "metrics.jsonl").read_text().splitlines() for key in json.loads(line)}
    return rows, rows | set(flat(json.loads((folder / "result.json").read_text())))


def test_every_panel_draws_what_runs_of_any_data_set_log(
    script: ModuleType, tiny_cifar10: Path, tmp_path: Path
) -> None:
    documented = (ROOT / "docs" / "metrics.md").read_text()
    specs = [view._to_model().spec.model_dump(by_alias=True)["section"] for view in script.views("entity", "project")]
    drawn = [
        metric.removeprefix("summary:")
        for spec in specs
        for section in spec["panelBankConfig"]["sections"]
        for metric in metrics_of(section["panels"])
    ]
    assert len(set(drawn)) > 30
    small = ["dataset.train_rows=512", "dataset.val_rows=128", "model.widths=[8,8,8]"]
    for name, overrides in {
        "digits": ["dataset=digits", "dataset.train_rows=300"],
        "cifar10": ["dataset=cifar10", f"dataset.root={tiny_cifar10}", *small],
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        # The labels of the small CIFAR-10 are noise: a method that allows for wrong ones would not choose by score.
        plain = ["method.noise_robust=false", "recipe.epochs=4", "tracking=jsonl", "tracking.report=false"]
        execute(load_config([*overrides, *plain]), folder)
        _, there = logged(folder)
        for metric in set(drawn) - there:
            measured = metric.startswith("energy/") and f"`{metric}`" in documented
            computed = metric.startswith("relative/") and metric.removeprefix("relative/") in script.RELATIVE
            assert measured or computed, f"{metric} is not logged on {name}"


def test_a_report_shows_one_group(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    from wandb_workspaces.reports.v2 import interface

    monkeypatch.setattr(interface, "_get_api", MagicMock())
    found = script.report("entity", "project", "my study's")
    assert found.title == "my study's: rates, accuracy and savings"
    (runs,) = {grid.runsets[0].filters for grid in found.blocks if isinstance(grid, interface.PanelGrid)}
    assert runs == """Metric('Group') == "my study's\""""
    text = (ROOT / "docs" / "metrics.md").read_text() + (ROOT / "docs" / "tracking.md").read_text()
    panels = [panel for grid in found.blocks if isinstance(grid, interface.PanelGrid) for panel in grid.panels]
    keys = [key for panel in panels for name in ("x", "y", "metrics") for key in _names(getattr(panel, name, ()))]
    assert len(set(keys)) > 10
    for key in set(keys) - {"progress"}:
        assert f"`{key}" in text or key.startswith("relative/") or f"`{key.rpartition('/')[2]}" in text, key


def _names(given: Any) -> list[str]:
    found = given if isinstance(given, list | tuple) else [given]
    return [getattr(each, "name", each) for each in found]


def test_what_compare_finds_goes_to_every_run_of_an_arm(script: ModuleType, tmp_path: Path) -> None:
    for dataset in ("cifar10", "imagenette"):
        for method, accuracies, cost in (("dense", [90, 91], 100), ("ast", [89, 90], 50), ("random", [80, 81], 50)):
            write_arm(tmp_path / dataset, method, accuracies, cost, dataset=dataset)
    pushed: dict[str, dict[str, float]] = {}
    count = script.push(
        script.relative([tmp_path]), lambda run_id: SimpleNamespace(summary=pushed.setdefault(run_id, {}))
    )
    assert count == len(pushed) == 8  # two seeds of two methods on two data sets
    for run_id, told in pushed.items():
        gap = -1 if "ast" in run_id else -10
        assert told["relative/points_above_dense"] == pytest.approx(gap), run_id
        assert told["relative/flops_saved"] == pytest.approx(0.5)
        assert set(told) <= {f"relative/{key}" for key in script.RELATIVE}
