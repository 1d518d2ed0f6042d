"""The baselines that a study gives its methods, from files of runs that were never trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from study_tools import composed, queue_of, write_result

from ast_experiments.experiments.study.plan import StudyRun, read_plan


@pytest.fixture(autouse=True)
def _composed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ast_experiments.experiments.study.queue.arm_config", composed)


@pytest.mark.parametrize(
    ("methods", "rate", "baselines"),
    [
        ("rs2", 0.4, ["dense epochs=4"]),  # it is its own
        ("ast", 1.0, []),  # dense serves, and rs2 at rate 1 would be dense
        ("ast", 1.5, ["dense epochs=15"]),
        ("dense:recipe.epochs=4,ast", 0.4, ["rs2 rate=0.4"]),  # one that was asked for serves
        ("ast:recipe.epochs=20", 0.4, ["dense epochs=9", "rs2 rate=0.4 recipe.epochs=20"]),
    ],
)
def test_baselines(tmp_path: Path, methods: str, rate: float, baselines: list[str]) -> None:
    queue = queue_of(tmp_path, methods)
    dense, *_, method = queue.plan.arms
    write_result(queue, StudyRun(dense, 0))
    write_result(queue, StudyRun(method, 0), rate=rate)
    queue.decide()
    assert [arm.label for arm in queue.plan.baselines] == baselines


@pytest.mark.parametrize(
    ("setting", "label"),
    [
        ("recipe.progressive_resizing=0.5", "recipe.progressive_resizing=0.5"),
        ("recipe.progressive_resizing.initial_scale=0.5", "+recipe.progressive_resizing.initial_scale=0.5"),
    ],
)
def test_baselines_train_at_the_sizes_of_the_method(tmp_path: Path, setting: str, label: str) -> None:
    queue = queue_of(tmp_path, f"ast:{setting}")
    dense, method = queue.plan.arms
    write_result(queue, StudyRun(dense, 0))
    # Ten dense epochs at these sizes cost 7,000 rows at full size; the method trains 2,300 rows' worth.
    rates, shares = [0.5] * 4 + [0.3] * 6, [0.25] * 4 + [1.0] * 6
    spent = sum(1000 * rate * share for rate, share in zip(rates, shares, strict=True))
    write_result(
        queue, StudyRun(method, 0), rows_by_epoch=[round(1000 * rate) for rate in rates], row_flops_by_epoch=shares,
        flops={"score": 0, "train": 3e6 * spent, "val": 1e6 * 200 * 10},
    )  # fmt: skip
    queue.decide()
    shorter, uniform, same = queue.plan.baselines
    assert [arm.label for arm in (shorter, uniform)] == [f"dense epochs=4 {label}", f"rs2 rate=0.3286 {label}"]
    assert queue.config(same).method.rate_schedule == pytest.approx(rates, abs=1e-3)
    assert all(queue.config(arm).recipe.progressive_resizing.initial_scale == 0.5 for arm in (shorter, uniform, same))
    assert queue.config(dense).recipe.progressive_resizing is None
    assert queue.plan.matched[method.label]["rs2_same_schedule_costs"] == pytest.approx(1, abs=1e-3)


def test_a_method_whose_rate_changes_has_a_uniform_draw_with_its_rates(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, "ast:rate=0.6:rate_schedule=linear:rate_final=0.2,infobatch")
    dense, falling, pruned = queue.plan.arms
    assert queue.remaining()[0] == 3 * 3 + 2 * 3 * 3
    write_result(queue, StudyRun(dense, 0))
    write_result(
        queue, StudyRun(falling, 0), rate=0.4, rows_by_epoch=[600, 560, 510, 470, 420, 380, 330, 290, 240, 200]
    )
    write_result(queue, StudyRun(pruned, 0), rate=0.7, rows_by_epoch=[1000, *[600] * 7, 800, 1000])
    said = queue.decide()
    name = "rs2 as ast rate=0.6 rate_schedule=linear rate_final=0.2"
    assert said[1].endswith(f"dense epochs=4 (0.91 of it, whole epochs), rs2 rate=0.4, {name}")
    uniform = next(arm for arm in queue.plan.baselines if arm.label == name)
    method = queue.config(uniform).method
    assert method.name == "rs2"
    assert method.rate_schedule == pytest.approx([0.6, 0.56, 0.51, 0.47, 0.42, 0.38, 0.33, 0.29, 0.24, 0.2], abs=1e-3)
    assert queue.job(StudyRun(uniform, 1)).config.tags == [f"baseline=rs2_same_schedule:{falling.label}"]
    assert queue.plan.matched[falling.label]["rs2_same_schedule_costs"] == pytest.approx(1, abs=1e-3)
    as_pruned = next(arm for arm in queue.plan.baselines if arm.label == "rs2 as infobatch")
    assert queue.config(as_pruned).method.rate_schedule == pytest.approx([1, *[0.6] * 7, 0.8, 1], abs=1e-3)
    assert read_plan(tmp_path) == queue.plan


def test_methods_with_the_same_rates_share_their_baselines(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, "ast,ast:exploration=0.1,ast:rate=0.3")
    dense, *methods = queue.plan.arms
    write_result(queue, StudyRun(dense, 0))
    for method, scale in zip(methods, (1, 1.01, 0.75), strict=True):
        rows = [round(scale * each) for each in (600, 560, 510, 470, 420, 380, 330, 290, 240, 200)]
        write_result(queue, StudyRun(method, 0), rate=0.4 * scale, rows_by_epoch=rows)
    queue.decide()
    same = [arm for arm in queue.plan.baselines if arm.label.startswith("rs2 as")]
    assert [arm.label for arm in same] == ["rs2 as ast", "rs2 as ast rate=0.3"]
    assert same[0].baseline_for == ("rs2_same_schedule:ast", "rs2_same_schedule:ast exploration=0.1")


def test_a_constant_rate_needs_no_second_uniform_draw(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, "ast")
    dense, ast = queue.plan.arms
    write_result(queue, StudyRun(dense, 0))
    write_result(queue, StudyRun(ast, 0), rate=0.4, rows_by_epoch=[400, 398, 404, 400, 399, 401, 396, 400, 402, 400])
    queue.decide()
    assert [arm.label for arm in queue.plan.baselines] == ["dense epochs=4", "rs2 rate=0.4"]


def test_baselines_grow_their_batches_with_the_method(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, "ast:recipe.batch_growth=4")
    dense, method = queue.plan.arms
    write_result(queue, StudyRun(dense, 0))
    write_result(queue, StudyRun(method, 0), rate=0.5)
    queue.decide()
    assert queue.plan.baselines[0].label.endswith("recipe.batch_growth=4")
    assert all(queue.config(arm).recipe.batch_growth.factor == 4 for arm in queue.plan.baselines)
    assert queue.config(dense).recipe.batch_growth is None
