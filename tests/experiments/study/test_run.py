"""Studies with real training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from study_tools import composed

from ast_experiments.cli.bench import _main, planned
from ast_experiments.core.errors import ConfigError, DataError, Diverged, Interrupted, UserError
from ast_experiments.core.owner import owned
from ast_experiments.experiments.study.journal import read_journal
from ast_experiments.experiments.study.plan import read_plan
from ast_experiments.experiments.study.queue import StudyQueue
from ast_experiments.experiments.study.run import check_study, run_study
from ast_experiments.runs import run as launch

TINY = ["dataset.train_rows=200", "recipe.epochs=2", "tracking=jsonl", "tracking.report=false", "hardware.threads=1"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ast_experiments.experiments.study.queue.arm_config", composed)


def bench(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["ast-bench", *arguments])
    return _main()


def results(folder: Path) -> dict[str, dict[str, Any]]:
    found = sorted(folder.rglob("result.json"))
    return {path.parent.relative_to(folder).as_posix(): json.loads(path.read_text()) for path in found}


def breaking(monkeypatch: pytest.MonkeyPatch, at: Callable[[Any], bool], error: BaseException) -> list[str]:
    """Makes some runs fail. Returns the methods that were run, in order."""
    execute, ran = launch.execute, []

    def broken(config: Any, folder: Path, overrides: Any = (), watch: Any = None) -> Any:
        if config.max_steps is None:  # not the warm-up
            ran.append(config.method.name)
            if at(config):
                raise error
        return execute(config, folder, overrides, watch)

    monkeypatch.setattr(launch, "execute", broken)
    return ran


@pytest.mark.slow
def test_a_study_resumes_and_skips_what_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = Path("outputs/studies/s")
    command = ["methods=[ast]", "seeds=2", "name=s", *TINY]
    # The second run ends by Ctrl-C.
    with monkeypatch.context() as patch:
        stop = Interrupted("SIGINT; resume with: ast-resume somewhere")
        breaking(patch, lambda config: config.method.name == "ast", stop)
        with pytest.raises(
            Interrupted, match=r"SIGINT; 1 of 8 runs are done; resume with: ast-bench outputs/studies/s"
        ):
            bench(patch, *command)
    assert list(results(study)) == ["runs/dense/seed_0"]
    assert not (study / "compare.html").exists()
    # AST fails with the first seed; the others go on.
    with monkeypatch.context() as patch:
        failing = Diverged("the loss is no longer a number")
        ran = breaking(patch, lambda config: config.method.name == "ast" and config.seed == 0, failing)
        assert bench(patch, str(study)) == 1
    assert ran[0] == "ast"
    assert sorted(ran) == ["ast"] * 2 + ["dense"] * 3 + ["rs2"] * 2
    printed = capsys.readouterr()
    assert "ast, seed 0: the loss is no longer a number; see outputs/studies/s/runs/ast/seed_0/train.log" in printed.err
    assert "1 failed; to repeat them type: ast-bench outputs/studies/s" in printed.err
    assert "% in" in printed.out
    assert "left" in printed.out
    assert "Verdicts" in printed.out
    assert printed.out.count("note: dense: about 12 training steps in all, which is few") == 2, "once a command"
    # Started again by the first command line, only what failed is run.
    ran = breaking(monkeypatch, lambda config: False, failing)
    for _ in range(2):
        plan, folder = planned(command)
        run_study(StudyQueue(plan, folder))
        assert ran == ["ast"]
    assert folder == study
    made = results(study)
    assert set(made) == {f"runs/{arm.folder}/seed_{seed}" for arm in plan.arms for seed in (0, 1)}
    assert {result["status"] for result in made.values()} == {"finished"}
    assert {result["resumed"] for result in made.values()} == {0}
    assert {result["group"] for result in made.values()} == {"s"}
    for baseline in plan.baselines:
        assert made[f"runs/{baseline.folder}/seed_1"]["tags"] == [f"baseline={each}" for each in baseline.baseline_for]
    ends = [row for row in read_journal(study) if row["event"] == "finished"]
    assert sorted(row["run"] for row in ends) == sorted(made)
    assert (study / "compare.html").exists()
    assert json.loads((study / "compare.json").read_text())[0]["rules"]["x"] == "flops"
    # A run of a study is the run that ast-train makes.
    alone_in_folder = Path("alone")
    alone_in_folder.mkdir()
    config = StudyQueue(plan, study).config(plan.arms[1])
    again = launch.execute(config, alone_in_folder)
    assert again["final_val_loss"] == made["runs/ast/seed_0"]["final_val_loss"]


def test_trials_of_learning_rates(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(monkeypatch, "methods=[dense]", "seeds=1", "lr_trials=2", "name=s", *TINY) == 0
    study = Path("outputs/studies/s")
    made, plan = results(study), read_plan(study)
    assert plan is not None
    trials = {place: result for place, result in made.items() if place.startswith("trials/")}
    assert len(trials) == 2
    assert all("trial" in result["tags"] for result in trials.values())
    for arm in plan.arms:
        config = (study / "runs" / arm.folder / "seed_0" / "config.yaml").read_text()
        assert f"lr: {plan.lrs[arm.label]}\n" in config
    said = capsys.readouterr().out
    assert "trials of learning rates took" in said
    assert said.splitlines()[1].startswith("note: a claim on this data set needs 3 seeds")
    assert len(json.loads((study / "compare.json").read_text())[0]["arms"]) == 1


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (["methods=[foo]"], ConfigError, "method=foo: no such choice"),
        (["methods=[ast:rat=0.2]"], ConfigError, "method.rat: no such setting of method=ast; nearest: rate"),
        (["methods=[ast]", "recipe.lr=-1"], ConfigError, "recipe.lr: -1"),
        (["methods=[random,ast:warmup_epochs=9]"], ConfigError, "leaves nothing of recipe.epochs=2"),
        (
            ["methods=[ast]", "dataset=cifar10", "dataset.download=false", "dataset.root=/nothing"],
            DataError,
            "/nothing",
        ),
    ],
)
def test_nothing_is_started_or_written_if_one_job_is_wrong(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], error: type[UserError], said: str
) -> None:
    with pytest.raises(error, match=said):
        bench(monkeypatch, *arguments, "seeds=2", *TINY)
    assert not list(tmp_path.iterdir())


def test_runs_with_other_settings_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, folder = planned(["methods=[random]", "seeds=1", "name=s", *TINY])
    queue = StudyQueue(plan, folder)
    place = folder / "runs/dense/seed_0"
    place.mkdir(parents=True)
    (place / "result.json").write_text(json.dumps({"status": "finished", "config_hash": "0"}))
    with pytest.raises(UserError, match="runs/dense/seed_0 holds a run of another config"):
        check_study(queue)


def test_one_process_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    study = Path("outputs/studies/s")
    study.mkdir(parents=True)
    with owned(study), pytest.raises(UserError, match="is in use by another process"):
        bench(monkeypatch, "methods=[random]", "seeds=1", "name=s", *TINY)
    assert not (study / "plan.json").exists()


def test_an_interrupt_between_runs_says_how_to_continue(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plan, folder = planned(["methods=[random]", "seeds=1", "name=s", *TINY])
    queue = StudyQueue(plan, folder)

    def stop() -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(queue, "decide", stop)
    monkeypatch.setattr(queue, "pending", list)
    with pytest.raises(
        Interrupted, match=r"stopped; 0 of [0-9]+ runs are done; resume with: ast-bench outputs/studies/s"
    ):
        run_study(queue)
