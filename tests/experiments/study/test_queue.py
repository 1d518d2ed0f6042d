"""The order of runs and the decisions of a study, from files of runs that were never trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from study_tools import composed, queue_of, write_result

from ast_experiments.comparison.compare import compare
from ast_experiments.comparison.runs import load
from ast_experiments.core.errors import UserError
from ast_experiments.experiments.study.arms import Arm
from ast_experiments.experiments.study.journal import append_event
from ast_experiments.experiments.study.plan import TRIAL_SEED, StudyRun, read_plan
from ast_experiments.experiments.study.queue import StudyQueue


@pytest.fixture(autouse=True)
def _composed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ast_experiments.experiments.study.queue.arm_config", composed)


def places(queue: StudyQueue) -> list[str]:
    return [job.path for job in queue.pending()]


def test_methods_first_then_their_baselines_then_seed_by_seed(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, "ast,random")
    dense, ast, uniform = queue.plan.arms
    assert places(queue)[:3] == [f"runs/{name}/seed_0" for name in ("dense", "ast", "random")]
    assert places(queue)[3:6] == [f"runs/{name}/seed_1" for name in ("ast", "random", "dense")]
    assert queue.decide() == []
    write_result(queue, StudyRun(dense, 0))
    write_result(queue, StudyRun(ast, 0), rate=0.4)
    said = queue.decide()
    assert "costs are counted in FLOPs: energy was not measured (GPU: there is none)" in said[0]
    # Of dense: (0.4 x 3 + 0.2) / (3 + 0.2); of 3.2 an epoch, 10 x 1.4 is 4.4 epochs.
    assert "ast costs 0.438 of dense in FLOPs" in said[1]
    assert [arm.label for arm in queue.plan.baselines] == ["dense epochs=4", "rs2 rate=0.4"]
    # Baselines wait for the method of the first seed that is left, which may share them.
    assert places(queue)[:2] == ["runs/random/seed_0", "runs/random/seed_1"]
    assert [job.path for job in queue.batch()] == ["runs/random/seed_0"]
    write_result(queue, StudyRun(uniform, 0), rate=0.402)
    queue.decide()
    assert places(queue)[:3] == ["runs/dense-epochs=4/seed_0", "runs/rs2-rate=0.4/seed_0", "runs/random/seed_1"]
    assert len(set(places(queue))) == len(places(queue)) == 5 * 3 - 3
    assert queue.batch() == queue.pending()
    # Rates that are close share their baselines, and the runs say whose they are.
    short, rs2 = queue.plan.baselines
    assert short.baseline_for == ("dense_shorter:ast", "dense_shorter:random")
    assert queue.job(StudyRun(rs2, 1)).config.tags == ["baseline=rs2:ast", "baseline=rs2:random"]
    assert queue.job(StudyRun(rs2, 1)).config.group == "study"
    recipe = queue.config(short).recipe
    assert (recipe.epochs, recipe.warmup_epochs) == (4, pytest.approx(0.4))
    assert read_plan(tmp_path) == queue.plan


def test_decisions_stay_when_the_study_resumes(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, "ast")
    for job, rate in zip(queue.pending()[:2], (1.0, 0.4), strict=True):
        write_result(queue, job, rate=rate)
    queue.decide()
    plan = read_plan(tmp_path)
    assert plan is not None
    again = StudyQueue(plan, tmp_path)
    assert again.decide() == []
    assert again.pending() == queue.pending()
    write_result(again, StudyRun(again.plan.arms[1], 1), rate=0.9)
    assert again.decide() == []


def test_joules_where_they_are_measured(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, "ast")
    for job, rate in zip(queue.pending()[:2], (1.0, 0.5), strict=True):
        write_result(queue, job, rate=rate, joules=True)
    said = queue.decide()
    assert said[0] == "costs are counted in joules: measured by nvml"
    # Dense: 100 J of set-up and 3,200 J an epoch; the method 100 + 10 x 1,700 J: 5.3 epochs.
    assert queue.plan.matched["ast"]["of_dense"] == pytest.approx(17100 / 32100)
    assert queue.plan.matched["ast"]["dense_shorter_costs"] == pytest.approx((100 + 5 * 3200) / 17100)
    assert queue.plan.matched["ast"]["rs2"] == "rs2 rate=0.5"


def test_joules_that_were_not_measured_end_the_study(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, "ast", cost="joules")
    for job in queue.pending()[:2]:
        write_result(queue, job)
    with pytest.raises(UserError, match=r"cost=joules: energy was not measured .*; type cost=flops"):
        queue.decide()


def test_a_method_without_baselines_of_its_own_is_judged_by_those_of_the_others(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, "random:rate=0.4,ast:rate=0.4,loss_drop:rate=0.6", baselines=("random",))
    figures = {"dense": (1.0, 90.0), "rs2": (0.4, 90.0), "random": (0.4, 90.0), "ast": (0.42, 91.0)}

    def end(run: StudyRun) -> None:
        rate, accuracy = figures.get(run.arm.method, (0.6, 91.5))
        folder = write_result(queue, run, rate=rate, final_accuracy=accuracy + run.seed / 10)
        epochs = queue.config(run.arm).recipe.epochs
        (folder / "config.yaml").write_text(f"recipe: {{epochs: {epochs}}}\nmethod: {{rate: {rate}}}\n")

    dense, uniform, *_ = queue.plan.arms
    assert queue.remaining()[0] == 4 * 3 + 2 * 3
    end(StudyRun(dense, 0))
    end(StudyRun(uniform, 0))
    assert len(queue.decide()) == 2
    # Its baselines wait for no other method.
    assert queue.batch() == queue.pending()
    assert len(queue.pending()) == queue.remaining()[0] == 6 * 3 - 2
    for run in queue.pending():
        end(run)
    assert queue.decide() == []
    assert list(queue.plan.matched) == ["random rate=0.4"]
    again = StudyQueue(read_plan(tmp_path) or queue.plan, tmp_path)
    assert (again.pending(), again.remaining()) == ([], (0, None))
    verdicts = {
        each.arm.method: each.verdict for each in compare(load([tmp_path]), "digits", x=again.plan.cost).results
    }
    assert (verdicts["ast"].word, verdicts["loss_drop"].word) == ("wins", "not comparable")
    assert "no dense run at that cost: the closest, dense epochs=4, costs 0.64" in verdicts["loss_drop"].reasons[0]


def test_a_study_without_baselines_still_has_a_unit_of_cost(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, "ast,infobatch", baselines=())
    dense, ast, _ = queue.plan.arms
    assert queue.remaining() == (9, None)
    assert queue.batch() == queue.pending()
    write_result(queue, StudyRun(dense, 0))
    assert queue.decide() == []
    write_result(queue, StudyRun(ast, 0), rate=0.4)
    (line,) = queue.decide()
    assert line.startswith("costs are counted in FLOPs")
    assert (queue.decide(), queue.plan.cost, queue.plan.matched, queue.remaining()[0]) == ([], "flops", {}, 7)
    assert read_plan(tmp_path) == queue.plan


def test_another_seed_gives_the_cost_if_the_first_failed(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, "ast")
    dense, ast = queue.plan.arms
    write_result(queue, StudyRun(dense, 0))
    write_result(queue, StudyRun(ast, 0), rate=0.1, status="failed")
    queue.failed[StudyRun(ast, 0)] = "broken"
    assert queue.decide() == []
    assert StudyRun(ast, 0) not in queue.pending()
    write_result(queue, StudyRun(ast, 1), rate=0.4)
    assert len(queue.decide()) == 2
    assert queue.plan.baselines[1].label == "rs2 rate=0.4"
    # Started again, what failed is repeated.
    assert StudyQueue(queue.plan, tmp_path).pending()[0] == StudyRun(ast, 0)


def test_learning_rates_are_tried_with_a_seed_of_their_own(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, "ast", seeds=2, lr_trials=3)
    dense, ast = queue.plan.arms
    assert places(queue) == [f"trials/{arm}/lr_{lr}" for lr in ("0.0015", "0.003", "0.006") for arm in ("dense", "ast")]
    trial = queue.job(queue.pending()[0]).config
    assert (trial.seed, trial.recipe.lr, trial.tags) == (TRIAL_SEED, 0.0015, ["trial"])
    assert (trial.holdout, trial.eval_on) == (0.1, "holdout")
    assert queue.remaining() == (6 + 4 + 2 * (2 + 3), None)
    for lr, accuracy in ((0.0015, 90.0), (0.003, 91.0), (0.006, 91.0)):
        write_result(queue, StudyRun(dense, TRIAL_SEED, lr), final_accuracy=accuracy)
        assert "runs/dense/seed_0" not in places(queue)
    assert queue.decide() == ["dense: lr 0.003 of 0.0015, 0.003, 0.006"]  # of equal ones the nearest
    chosen = queue.job(StudyRun(dense, 0)).config
    assert (chosen.recipe.lr, chosen.holdout, chosen.eval_on) == (0.003, 0.0, "val")
    # A trial that failed counts for nothing.
    for lr, accuracy in ((0.0015, 80.0), (0.006, 85.0)):
        write_result(queue, StudyRun(ast, TRIAL_SEED, lr), rate=0.4, final_accuracy=accuracy)
    queue.failed[StudyRun(ast, TRIAL_SEED, 0.003)] = "diverged"
    assert queue.decide() == ["ast: lr 0.006 of 0.0015, 0.003, 0.006, at the edge of the grid"]
    assert places(queue)[:2] == ["runs/dense/seed_0", "runs/ast/seed_0"]
    for job, rate in ((StudyRun(dense, 0), 1.0), (StudyRun(ast, 0), 0.4)):
        write_result(queue, job, rate=rate)
    queue.decide()
    # Baselines have as many trials, around the recipe's own learning rate.
    assert places(queue)[:6] == [
        f"trials/{arm}/lr_{lr}" for lr in ("0.0015", "0.003", "0.006") for arm in ("dense-epochs=4", "rs2-rate=0.4")
    ]
    short = queue.plan.baselines[0]
    assert queue.job(StudyRun(short, TRIAL_SEED, 0.003)).config.tags == ["baseline=dense_shorter:ast", "trial"]


def test_an_arm_whose_trials_all_failed_does_not_run(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, "ast", seeds=1, lr_trials=2)
    queue.failed = dict.fromkeys(queue.pending(), "broken")
    assert queue.decide() == []
    assert queue.pending() == []


def test_the_estimate_is_the_mean_time_of_an_arm(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, "random", seeds=2)
    dense, uniform = queue.plan.arms
    assert queue.remaining() == (4 + 2 * 2, None)
    write_result(queue, StudyRun(dense, 0))
    append_event(tmp_path, "started", StudyRun(dense, 0))
    append_event(tmp_path, "finished", StudyRun(dense, 0), took_s=30.0)
    assert queue.remaining() == (7, 7 * 30.0)
    write_result(queue, StudyRun(uniform, 0), rate=0.4)
    append_event(tmp_path, "finished", StudyRun(uniform, 0), took_s=10.0)
    with open(tmp_path / "journal.jsonl", "a", encoding="utf-8") as journal:
        journal.write('{"at": "2026')  # what a kill leaves
    assert queue.remaining() == (6, 30.0 + 10.0 + 4 * 10.0)


def test_each_arm_has_its_own_directory() -> None:
    folders = [Arm(label, "ast").folder for label in ("ast", "ast rate=0.2", "kakurenbo decay_at=[0.3,0.6]")]
    assert folders == ["ast", "ast-rate=0.2", "kakurenbo-decay_at=-0.3,0.6"]
