"""result.json: what is described before a run, what is reached by it; and exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ast_experiments.cli.main import guarded
from ast_experiments.config.compose import load_config
from ast_experiments.core.errors import ConfigError, DataError, Diverged, Interrupted, UserError
from ast_experiments.energy.ledger import Ledger
from ast_experiments.energy.meter import Meter
from ast_experiments.energy.probe import ProbeResult
from ast_experiments.energy.row_cost import RowCost
from ast_experiments.energy.time_to_accuracy import TimeToAccuracy
from ast_experiments.runs import result as results
from ast_experiments.runs.record import read_result
from ast_experiments.selection.rate_schedule import RateSchedule
from ast_experiments.training.progress import EpochHistory, Progress
from ast_experiments.training.target_rate import TargetRate


def described(*overrides: str) -> dict[str, Any]:
    return results.describe(load_config(overrides))


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            [],
            {
                "dataset": "digits", "model": "simple_cnn", "method": "ast", "scoring": "stale", "controller": "pi",
                "significance": "loss", "recipe": "small", "seed": 0, "experiment": "quickstart", "group": None,
                "tags": [], "epochs_planned": 30, "target": 0.4,
            },
        ),
        (
            ["method=dense"],
            {"method": "dense", "scoring": None, "controller": None, "significance": None, "target": None},
        ),
        (["method=random", "method.rate=0.3"], {"controller": None, "significance": None, "target": 0.3}),
        (["method.pick=topk"], {"controller": None, "significance": "loss", "target": 0.4}),
        (["method.rate_schedule=falling"], {"target": 0.2}),
        (["method.pick=proportional"], {"controller": None}),
        (["method.rate_schedule=linear", "method.rate=0.6", "method.rate_final=0.2"], {"target": 0.2}),
        (["model=timm", "model.arch=resnet34"], {"model": "resnet34"}),
        (["model=resnet18_cifar"], {"model": "resnet18_cifar"}),
        (["group=g", "tags=[a,b]", "seed=7"], {"group": "g", "tags": ["a", "b"], "seed": 7}),
    ],
    ids=str,
)  # fmt: skip
def test_describe(overrides: list[str], expected: dict[str, Any]) -> None:
    told = described(*overrides)
    assert {key: told[key] for key in expected} == expected
    assert len(told["config_hash"]) == 12


def run_of(history: EpochHistory, *, trained: int, offered: int, scored: int = 0) -> Any:
    ledger = Ledger(torch.device("cpu"))
    ledger.trained, ledger.offered, ledger.own["scored"] = trained, offered, scored
    progress = Progress(epoch=len(history.trained), step=5)
    meter, selector = Meter(ProbeResult(None, "off"), ProbeResult(None, "off")), SimpleNamespace(facts=dict)
    return SimpleNamespace(
        history=history, ledger=ledger, progress=progress, cost=RowCost(), selector=selector, meter=meter,
        goal=TimeToAccuracy(80.0), target=TargetRate(RateSchedule(0.3), 8), samples=SimpleNamespace(noise=lambda: None),
        dataset=SimpleNamespace(classes=range(10), train=range(100), val=range(100)),
    )  # fmt: skip


def test_reached_by_a_run() -> None:
    history = EpochHistory(
        trained=[100, 60, 50, 50, 40, 40, 30, 34],
        offered=[100] * 8,
        targets=[1.0, 0.6, 0.5, 0.5, 0.4, 0.4, 0.3, 0.3],
        accuracy=[(2, 50.0, 1.5), (4, 70.0, 0.9), (6, 70.0, 0.8), (8, 65.0, 1.0)],
    )
    reached = results.reached(run_of(history, trained=404, offered=800, scored=9))
    assert reached["epochs"] == 8
    assert reached["steps"] == 5
    assert (reached["rows_trained"], reached["rows_scored"], reached["rows_offered"]) == (404, 9, 800)
    assert reached["mean_activation_rate"] == pytest.approx(404 / 800)
    assert reached["last_quarter_activation_rate"] == pytest.approx(64 / 200)
    assert reached["last_quarter_target"] == pytest.approx(0.3)
    assert reached["nominal_savings"] == pytest.approx(0.99 * (1 - 404 / 800))
    assert reached["skipped_share"] == pytest.approx(1 - 404 / 800)
    assert (reached["final_accuracy"], reached["final_val_loss"]) == (65.0, 1.0)
    assert (reached["best_accuracy"], reached["best_epoch"]) == (70.0, 4)
    assert reached["energy"] == {"source": None, "cpu_source": None, "why_not": "GPU: off; CPU: off"}
    assert (reached["target_accuracy"], reached["target_reached"]) == (80.0, False)
    assert set(reached["seconds"]) == {"setup", "plan", "data_wait", "score", "train", "val", "checkpoint"}


@pytest.mark.parametrize(("epochs", "last"), [(1, 1), (2, 1), (3, 1), (5, 1), (6, 2), (10, 2), (11, 3), (40, 10)])
def test_the_last_quarter_is_rounded_to_epochs(epochs: int, last: int) -> None:
    history = EpochHistory(trained=list(range(epochs)), offered=[100] * epochs, targets=[0.5] * epochs)
    reached = results.reached(run_of(history, trained=1, offered=1))
    assert reached["last_quarter_activation_rate"] == pytest.approx(sum(range(epochs)[-last:]) / (100 * last))


def test_reached_before_the_first_epoch() -> None:
    reached = results.reached(run_of(EpochHistory(), trained=0, offered=0))
    assert reached["nominal_savings"] == 0
    assert reached["skipped_share"] == 0
    for key in ("mean_activation_rate", "last_quarter_activation_rate", "final_accuracy", "best_accuracy"):
        assert key not in reached


def test_the_file_is_written_whole(tmp_path: Path) -> None:
    assert read_result(tmp_path) == {}
    path = results.write(tmp_path, {"a": 1, "folder": Path("/x")})
    assert json.loads(path.read_text()) == {"a": 1, "folder": "/x"} == read_result(tmp_path)

    class Unprintable:
        def __str__(self) -> str:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        results.write(tmp_path, {"a": Unprintable()})
    assert read_result(tmp_path) == {"a": 1, "folder": "/x"}


def test_environment_names_versions() -> None:
    told = results.environment()
    assert {"python", "torch", "timm", "hydra-core"} <= told["versions"].keys()
    assert told["commit"] is None or len(told["commit"].rstrip("+")) == 40


def failing(error: BaseException) -> Any:
    def command() -> int:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigError("one: bad\ntwo: bad"), 2, "error: one: bad\nerror: two: bad\n"),
        (DataError("no data"), 1, "error: no data\n"),
        (Diverged("no number"), 1, "error: no number\n"),
        (UserError("mend it"), 1, "error: mend it\n"),
        (Interrupted("SIGTERM; go on"), 75, "interrupted: SIGTERM; go on\n"),
        (KeyboardInterrupt(), 75, "interrupted\n"),
        (OSError("disk full"), 1, "error: disk full\n"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_exit_codes(error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(failing(error)) == code
    out, err = capsys.readouterr()
    assert (out, err) == ("", said)


def test_other_errors_are_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(failing(ZeroDivisionError("by 0"))) == 1
    assert capsys.readouterr().err.startswith("error: ZeroDivisionError: by 0")
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(ZeroDivisionError):
        guarded(failing(ZeroDivisionError()))
    assert guarded(lambda: 0) == 0
