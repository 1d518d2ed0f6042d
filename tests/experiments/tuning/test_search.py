"""Searches, with real training and with invented results."""

from __future__ import annotations

import copy
import csv
import dataclasses
import errno
import json
import logging
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from ast_experiments.analysis.draw import chart
from ast_experiments.cli import tune
from ast_experiments.config.compose import compose, load_config
from ast_experiments.config.schema import Config
from ast_experiments.config.validate import validate
from ast_experiments.core.errors import ConfigError, Diverged, Interrupted, UserError
from ast_experiments.core.owner import owned
from ast_experiments.experiments.tuning import charts, report
from ast_experiments.experiments.tuning.search import SearchSession, read_search
from ast_experiments.experiments.tuning.space import check_space, parse_space, trial_config
from ast_experiments.runs import result as results
from ast_experiments.runs import run as launch
from ast_experiments.runs.identity import config_hash

TINY = ["dataset.train_rows=200", "recipe.epochs=2", "tracking=jsonl", "tracking.report=false", "hardware.threads=1"]
SPACE = ["recipe.lr=1e-4..1e-1:log", "method.rate=0.2..0.6", "method.rate_schedule=constant"]
ROOT = Path("outputs/tune")


@cache
def _composed(common: tuple[str, ...]) -> Any:
    return compose(common)


@cache
def _chosen(common: tuple[str, ...], values: tuple[tuple[str, str], ...]) -> Config:
    return trial_config(common, dict(values))


def quick(common: Sequence[str], values: Mapping[str, str]) -> Config:
    """As `trial_config`, without composing anew for every value."""
    if any("." not in key for key in values):
        return _chosen(tuple(common), tuple(values.items()))
    config = copy.deepcopy(_composed(tuple(common)))
    for key, value in values.items():
        OmegaConf.update(config, key, json.loads(value))
    return validate(config)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ast_experiments.experiments.tuning.space.trial_config", quick)
    monkeypatch.setattr("ast_experiments.experiments.tuning.search.trial_config", quick)
    monkeypatch.setattr(charts, "chart", lambda draw, salt: "<svg></svg>")


def search(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["ast-tune", *arguments])
    return tune._main()


def trials(name: str) -> list[dict[str, str]]:
    with open(ROOT / name / "trials.csv", newline="") as file:
        return list(csv.DictReader(file))


def study(name: str) -> SearchSession:
    found = read_search(ROOT / name)
    assert found is not None
    searched, common = parse_space(found.arguments)
    return SearchSession(found, ROOT / name, common, check_space(searched, common))


def invent(monkeypatch: pytest.MonkeyPatch, figures: Callable[[Config], Mapping[str, Any]]) -> list[Config]:
    """Replaces training by figures; `curve` has the accuracy of each epoch. Returns the configs that were run."""
    ran: list[Config] = []

    def execute(config: Config, folder: Path, overrides: Any = (), watch: Any = None) -> dict[str, Any]:
        ran.append(config)
        result = {"status": "finished", "config_hash": config_hash(config), **figures(config)}
        curve = result.pop("curve", [])
        for epoch, accuracy in enumerate(curve, 1):
            row = {"kind": "epoch", "epoch": float(epoch), "progress": epoch / len(curve), "val/accuracy": accuracy}
            reason = watch and watch(row)
            if reason:
                raise Interrupted(f"{reason}; resume with: ast-resume somewhere")
        results.write(folder, result)
        return result

    monkeypatch.setattr(launch, "execute", execute)
    return ran


def test_an_interrupted_search_finds_the_same_as_a_whole_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search(monkeypatch, *SPACE, *TINY, "trials=3", "name=whole") == 0
    execute = launch.execute

    def stopped(config: Config, folder: Path, overrides: Any = (), watch: Any = None) -> dict[str, Any]:
        def press(row: Mapping[str, Any]) -> None:
            if row["kind"] == "epoch" and folder.name == "0001":
                os.kill(os.getpid(), signal.SIGINT)

        return execute(config, folder, overrides, press)

    with monkeypatch.context() as patch:
        patch.setattr(launch, "execute", stopped)
        told = r"SIGINT; 1 of 3 trials are done; resume with: ast-tune outputs/tune/cut"
        with pytest.raises(Interrupted, match=told):
            search(patch, *SPACE, *TINY, "trials=3", "name=cut")
    assert [trial["status"] for trial in trials("cut")] == ["finished", "interrupted"]
    assert search(monkeypatch, *TINY, *SPACE, "trials=3", "name=cut") == 0  # in another order
    assert trials("cut") == trials("whole")
    runs = [json.loads((ROOT / "cut/trials" / f"000{i}" / "result.json").read_text()) for i in range(3)]
    assert [(run["resumed"], run["group"], run["tags"]) for run in runs] == [
        (0, "cut", ["trial=0"]), (1, "cut", ["trial=1"]), (0, "cut", ["trial=2"])
    ]  # fmt: skip
    assert [f"{run['final_accuracy']}" for run in runs] == [trial["final_accuracy"] for trial in trials("cut")]
    # Nothing is left to do, until more trials are asked for.
    ran = invent(monkeypatch, lambda config: {"final_accuracy": 100.0})
    capsys.readouterr()
    assert search(monkeypatch, str(ROOT / "cut")) == 0
    assert not ran
    assert search(monkeypatch, str(ROOT / "cut"), "trials=4") == 0
    assert len(ran) == 1
    said = capsys.readouterr().out
    assert "cut: 0 of 3 trials left" in said
    assert "cut: 1 of 4 trials left" in said
    # The best trial's command makes its run again.
    best = json.loads((ROOT / "cut/best.json").read_text())["best"][0]
    assert best["command"] in said
    config = load_config(best["command"].split()[1:])
    assert config_hash(config) == config_hash(ran[0])


def test_a_run_that_ended_before_it_was_recorded_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = invent(monkeypatch, lambda config: {"final_accuracy": 50.0})

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("optuna.Study.tell", killed)
        with pytest.raises(Interrupted, match="stopped; 0 of 2 trials are done"):
            search(patch, *SPACE, *TINY, "trials=2", "name=s")
    assert search(monkeypatch, *SPACE, *TINY, "trials=2", "name=s") == 0
    assert len(ran) == 2
    assert [trial["status"] for trial in trials("s")] == ["finished", "finished"]


def test_failed_trials_are_recorded_and_skipped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def figures(config: Config) -> dict[str, Any]:
        if config.recipe.lr > 0.01:
            raise Diverged("the loss is no longer a number")
        return {"final_accuracy": float("nan") if config.recipe.lr < 1e-3 else 10.0}

    ran = invent(monkeypatch, figures)
    assert search(monkeypatch, *SPACE, *TINY, "trials=12", "name=s") == 0
    found = trials("s")
    assert len(ran) == len(found) == 12
    for trial in found:
        lr, failed = float(trial["recipe.lr"]), trial["status"] == "failed"
        assert failed == (not 1e-3 <= lr <= 0.01)
        assert trial["error"].startswith("the loss" if lr > 0.01 else "the run did not reach" if lr < 1e-3 else "")
        assert bool(trial["final_accuracy"]) != failed
    assert 0 < sum(trial["status"] == "failed" for trial in found) < 12
    assert "the loss is no longer a number; see outputs/tune/s/trials/" in capsys.readouterr().err
    # Where every trial fails the exit code says so.
    invent(monkeypatch, lambda config: {"final_accuracy": None})
    assert search(monkeypatch, *SPACE, *TINY, "trials=2", "name=t") == 1


def test_a_report_that_cannot_be_written_is_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    invent(monkeypatch, lambda config: {"final_accuracy": 50.0})
    monkeypatch.setattr(report, "write_atomic", full)
    assert search(monkeypatch, "recipe.lr=1e-3..1e-2", "trials=1", "name=s") == 0
    said = capsys.readouterr()
    assert "the report of the search could not be written: [Errno 28] No space left on device\n" in said.err
    assert "s/report.html" not in said.out
    assert not any(record.levelno > logging.INFO for record in caplog.records)  # shown where nothing handles logs


@pytest.mark.slow
def test_trials_below_the_median_are_pruned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run's curve is its rate, rising: whether a trial is pruned follows from the rates before it."""

    def figures(config: Config) -> dict[str, Any]:
        rate: float = getattr(config.method, "rate")  # noqa: B009
        curve = [100 * rate * epoch / 4 for epoch in range(1, 5)]
        return {"curve": curve, "final_accuracy": curve[-1]}

    four = [*(each for each in TINY if "epochs" not in each), "recipe.epochs=4"]
    invent(monkeypatch, figures)
    assert (
        search(monkeypatch, "method.rate=0.2..0.6", "method.rate_schedule=constant", *four, "trials=10", "name=s") == 0
    )
    found = trials("s")
    assert "pruned" in [trial["status"] for trial in found]
    rates = [float(trial["method.rate"]) for trial in found]
    for i, trial in enumerate(found):
        # The first five trials and the first quarter of the epochs are exempt, so epoch 2 is the first that can prune.
        others = [rate for rate, before in zip(rates[:i], found, strict=False) if before["status"] == "finished"]
        worse = i >= 5 and rates[i] < sorted(rates[:i])[i // 2 - (i % 2 == 0)]
        assert trial["status"] == "finished" or (i >= 5 and rates[i] < max(others))
        assert trial["status"] == "pruned" or not worse or i < 5
    pruned = next(i for i, trial in enumerate(found) if trial["status"] == "pruned")
    assert list(study("s").study.trials[pruned].intermediate_values) == [1, 2]
    assert trials("s")[pruned]["final_accuracy"] == ""
    # The same with prune=false makes every run whole, and so does a goal that the curve does not lead to.
    for name, more in (("t", ["prune=false"]), ("u", ["goal=rows_trained"])):
        invent(monkeypatch, lambda config: {**figures(config), "rows_trained": 1})
        assert (
            search(
                monkeypatch,
                "method.rate=0.2..0.6",
                "method.rate_schedule=constant",
                *four,
                "trials=7",
                f"name={name}",
                *more,
            )
            == 0
        )
        assert {trial["status"] for trial in trials(name)} == {"finished"}


def test_two_goals_and_choices(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def figures(config: Config) -> dict[str, Any]:
        rate: float = getattr(config.method, "rate")  # noqa: B009
        loses = config.significance.name == "loss"
        return {"final_accuracy": 100 * rate - 20 * loses, "compute_savings": 1 - rate}

    ran = invent(monkeypatch, figures)
    space = ["method.rate=0.25,0.5", "method.rate_schedule=constant", "significance=loss,loss_entropy"]
    command = [*space, *TINY, "goal=final_accuracy,compute_savings", "trials=12", "name=s"]
    assert search(monkeypatch, *command) == 0
    # Trials with the same values share a run.
    assert len(ran) == len({trial["run"] for trial in trials("s")}) <= 4
    best = json.loads((ROOT / "s/best.json").read_text())
    assert best["goals"] == ["final_accuracy:max", "compute_savings:max"]
    assert {entry["values"]["significance"] for entry in best["best"]} == {"loss_entropy"}
    assert {entry["values"]["method.rate"] for entry in best["best"]} == {"0.25", "0.5"}
    assert "best; none of these is worse than another in every goal" in capsys.readouterr().out
    monkeypatch.setattr(charts, "chart", chart)
    page = report.render_page(study("s"))
    for text in ("12 finished", "compute_savings against final_accuracy", "final_accuracy against significance"):
        assert text in page
    assert page.count("<svg") == 7


def test_a_missing_objective_stops_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = invent(monkeypatch, lambda config: {"final_accuracy": 1.0})
    with pytest.raises(
        UserError, match=r"goal=energy.joules: not in the results of these runs; expected one of final_acc"
    ):
        search(monkeypatch, *SPACE, *TINY, "goal=energy.joules:min")
    assert len(ran) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([*SPACE, "trials=0"], "trials=0: expected a number of trials"),
        ([*SPACE, "prune=maybe"], "prune=maybe: expected true or false"),
        ([*SPACE, "name=a/b"], "name=a/b: expected letters, digits and"),
        ([*SPACE, "name="], "name=: expected letters, digits and . _ = , + -; type e.g. name=NAME"),
        ([*SPACE, "goal=accuracy"], "goal=accuracy: result.json has no such figure"),
        ([*SPACE, "recipe.epochs=-1"], "recipe.epochs: -1 is wrong"),
        ([*SPACE, "stray"], "stray: expected KEY=VALUE, or only the directory of a search"),
        (["outputs/tune/there", "stray"], "stray: expected"),
        (["nowhere"], "nowhere: expected KEY=VALUE, or only the directory of a search"),
        ([*SPACE, "name=there", "seed=1"], "name=there: that search is recipe.lr=1e-4..1e-1:log"),
        ([*SPACE, "name=there", "goal=final_val_loss"], "type another name="),
        (["outputs/tune/there", "goal=final_val_loss"], "type another name="),
        (["outputs/tune/there", "seed=1"], "only the directory of a search"),
    ],
)
def test_wrong_command_lines(monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str) -> None:
    (ROOT / "there").mkdir(parents=True)
    asked, _ = tune.asked([*SPACE, "name=there"])
    asked.write(ROOT / "there")
    with pytest.raises(ConfigError) as caught:
        search(monkeypatch, *arguments)
    assert said in str(caught.value)
    assert [path.name for path in ROOT.iterdir()] == ["there"]


def test_names_follow_from_settings_and_not_from_their_order() -> None:
    names = [
        tune.asked(arguments)[0].name
        for arguments in (SPACE, [*reversed(SPACE), "trials=3"], [*SPACE, "seed=1"], [*SPACE, "goal=final_val_loss"])
    ]
    assert names[0] == names[1]
    assert len(set(names)) == 3


def test_without_optuna_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="type uv sync --inexact --extra tune"):
        search(monkeypatch, *SPACE)


def test_one_process_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    (ROOT / "s").mkdir(parents=True)
    with owned(ROOT / "s"), pytest.raises(UserError, match="s is in use by another process"):
        search(monkeypatch, *SPACE, *TINY, "trials=1", "name=s")
    assert not (ROOT / "s/search.json").exists()


def test_a_broken_request_is_refused(tmp_path: Path) -> None:
    (tmp_path / "search.json").write_text("{}")
    with pytest.raises(UserError, match="cannot be read"):
        read_search(tmp_path)


def test_a_stopped_run_resumes(tmp_path: Path) -> None:
    config = load_config([*TINY, "tracking.console=false"])
    with pytest.raises(Interrupted, match="enough; resume with: ast-resume"):
        launch.execute(config, tmp_path, watch=lambda row: "enough" if row["kind"] == "epoch" else None)
    stopped = json.loads((tmp_path / "result.json").read_text())
    assert (stopped["status"], stopped["error"], stopped["epochs"]) == ("interrupted", "stopped by enough", 1)
    whole = launch.execute(dataclasses.replace(config, tags=["again"]), tmp_path)
    assert (whole["status"], whole["epochs"], whole["resumed"]) == ("finished", 2, 1)
