"""Verdicts: each of them, each reason for none, and what a claim needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from compare_tools import CPU, DENSE, GPU, SHORTER, compared, study, write_arm, write_run

from ast_experiments.comparison.arms import group
from ast_experiments.comparison.compare import compare
from ast_experiments.comparison.criteria import criteria, level
from ast_experiments.comparison.runs import load
from ast_experiments.comparison.verdicts import ArmResult
from ast_experiments.comparison.wording import remarks


def judged(root: Path, method: str = "ast", **options: Any) -> ArmResult:
    return next(each for each in compared(root, **options).results if each.arm.method == method)


@pytest.mark.parametrize(
    ("accuracies", "word", "difference"),
    [
        ((94.0, 94.1, 93.9), "wins", 1.0),
        ((93.02, 93.12, 92.9), "equal", 0.04 / 3),  # two one-sided tests, margin 0.2
        ((92.0, 92.1, 91.9), "loses", -1.0),
        ((94.0, 92.0, 93.5), "undecided", 0.5 / 3),
        ((93.0, 93.1, 92.9), "equal", 0.0),  # as the baseline itself
    ],
)
def test_words(tmp_path: Path, accuracies: tuple[float, ...], word: str, difference: float) -> None:
    each = judged(study(tmp_path, accuracies))
    assert each.verdict.word == word
    assert each.verdict.against == "dense"  # the better of the two baselines, though it costs 2.5 % more
    assert each.verdict.difference is not None
    assert each.verdict.difference.mean == pytest.approx(difference, abs=1e-9)
    assert each.verdict.difference.n == 3


def test_savings_against_dense(tmp_path: Path) -> None:
    vs_dense = judged(study(tmp_path)).vs_dense
    assert vs_dense is not None
    assert vs_dense.dense.label == "dense epochs=10"
    assert vs_dense.gap.mean == pytest.approx(-1.0)
    assert (vs_dense.measured.axis, vs_dense.compute.axis) == ("joules", "flops")
    for pair in (vs_dense.measured, vs_dense.compute):
        assert pair.saving is not None
        assert pair.saving.mean == pytest.approx(0.6)
        assert pair.saving.significant


def test_savings_at_equal_accuracy(tmp_path: Path) -> None:
    # 94 lies half-way between 93 at 40 (the nearest baseline counts as no costlier than the method) and 95 at 100.
    saving = judged(study(tmp_path)).verdict.saving
    assert saving is not None
    assert saving.mean == pytest.approx(1 - 40 / (40 * 100) ** 0.5, abs=1e-6)


@pytest.mark.parametrize("cost", [41.0, 100.0])
def test_identical_arms_save_nothing(tmp_path: Path, cost: float) -> None:
    accuracies = SHORTER if cost == 41 else DENSE
    write_arm(tmp_path, "rs2", accuracies, cost, rate=1.0)
    each = judged(study(tmp_path, accuracies, cost))
    assert each.verdict.word == "equal"
    assert each.verdict.saving is not None
    assert not each.verdict.saving.significant
    assert any("no significant saving of joules at equal accuracy" in line for line in remarks(each, "joules"))
    if cost == 100:
        assert any("no significant saving of joules against dense" in line for line in remarks(each, "joules"))
        assert each.vs_dense is not None
        assert each.vs_dense.p_equal == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hardware": GPU | {"gpu_uuid": "GPU-2"}}, "different GPU UUID (GPU-2 and GPU-1)"),
        ({"hardware": GPU | {"driver": "560"}}, "different driver (560 and 550.1)"),
        ({"hardware": GPU | {"power_limit_w": 350.0}}, "different power limit (350.0 and 700.0)"),
        ({"hardware": GPU | {"gpu_uuid": None}}, "the GPU's UUID is unknown"),
        ({"ranks": 2}, "different processes (2 and 1)"),
        ({"energy": {"source": "nvml_power", "gpu_joules": 9e3}}, "different energy source (nvml_power and nvml)"),
        ({"energy": {"source": "tdp", "gpu_joules": 9e3}}, "its joules are estimates (source tdp)"),
        ({"energy": {"gpu_joules": 9e3}}, "its joules are estimates (source unknown)"),
        ({"energy": {"source": None, "why_not": "GPU: gone"}}, "energy was not measured (GPU: gone)"),
        ({"versions": {"torch": "2.7"}}, "different torch (2.7 and 2.6)"),
        ({"data_fingerprint": "beef"}, "different data fingerprint (beef and f00d)"),
        ({"model": "vit"}, "different model (vit and resnet18)"),
        ({"cost": 20.0}, "no baseline is as cheap: the cheapest, rs2, costs 2.00 times as much"),
        ({"cost": 60.0}, "no dense run at that cost: the closest, dense epochs=4, costs 0.68 times as much"),
        ({"cost": 60.0}, "no rs2 or random run at that cost: the closest, rs2, costs 0.67 times as much"),
        ({"accuracies": (94.0,)}, "1 seed; at least 3 are needed"),
        ({"accuracies": (94.0, 94.1)}, "2 seeds; at least 3 are needed"),
    ],
)
def test_refusals(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    verdict = judged(study(tmp_path, **changes)).verdict
    assert verdict.word == "not comparable"
    assert reason in verdict.reasons
    assert verdict.difference is verdict.saving is None


FALLING = [600, 500, 400, 300, 200]


def test_a_falling_rate_needs_a_uniform_draw_with_the_same_rates(tmp_path: Path) -> None:
    falls = {"rows_by_epoch": FALLING, "train_samples": 1000}
    each = judged(study(tmp_path, **falls))
    assert each.verdict.word == "wins"
    assert "an rs2 or random run at the same activation rate in every epoch" in each.verdict.needs
    # The uniform draw with the same rates gains as much as the method: nothing is left of the win.
    write_arm(tmp_path, "rs2", (94.05, 94.1, 93.95), 40, rate=0.401, tags=["baseline=rs2_same_schedule:ast"], **falls)
    each = judged(tmp_path)
    assert each.verdict.word == "equal"
    assert each.verdict.against == "rs2 with a changing rate"
    labels = {arm.label for arm in compared(tmp_path).arms}
    assert {"rs2", "rs2 as ast"} <= labels
    assert not any("same activation rate" in need for need in each.verdict.needs)


def test_a_uniform_draw_with_other_rates_is_a_line_of_its_own(tmp_path: Path) -> None:
    write_arm(tmp_path, "rs2", (93.6, 93.7, 93.5), 39, rate=0.401, rows_by_epoch=FALLING[::-1], train_samples=1000)
    each = judged(study(tmp_path, rows_by_epoch=FALLING, train_samples=1000))
    assert each.verdict.against == "rs2 with a changing rate"
    assert each.verdict.difference is not None
    assert each.verdict.difference.mean == pytest.approx(0.4)
    assert "an rs2 or random run at the same activation rate in every epoch" in each.verdict.needs


def test_image_sizes_are_a_lever(tmp_path: Path) -> None:
    root = study(tmp_path)
    for path in root.glob("ast*/config.yaml"):
        path.write_text(path.read_text().replace("lr: 0.1", "lr: 0.1, progressive_resizing: {initial_scale: 0.5}"))
    alone = judged(root)
    assert alone.verdict.word == "not comparable"  # what choosing adds, nobody knows
    assert alone.verdict.reasons[0] == "different recipe progressive_resizing initial_scale (0.5 and unknown)"
    assert alone.vs_dense is not None
    assert alone.vs_dense.compute.saving is not None
    assert alone.vs_dense.compute.saving.mean == pytest.approx(0.6)  # of both together


def test_other_recipe(tmp_path: Path) -> None:
    root = study(tmp_path)
    for path in root.glob("ast*/config.yaml"):
        path.write_text(path.read_text().replace("optimizer: sgd", "optimizer: adamw"))
    assert judged(root).verdict.reasons == ("different recipe optimizer (adamw and sgd)",)
    assert judged(root).vs_dense is None


def test_one_baseline_is_enough_to_lose_but_not_to_win(tmp_path: Path) -> None:
    write_arm(tmp_path, "dense", DENSE, 100)
    write_arm(tmp_path, "dense", SHORTER, 40, epochs=4)
    write_arm(tmp_path, "ast", (92, 92.1, 91.9), 40, rate=0.4)
    write_arm(tmp_path, "seta", (94, 94.1, 93.9), 40, rate=0.4)
    assert judged(tmp_path).verdict.word == "loses"
    verdict = judged(tmp_path, "seta").verdict
    assert (verdict.word, verdict.reasons) == ("not comparable", ("no rs2 or random runs to compare with",))


def test_costlier_than_all_baselines_can_only_lose(tmp_path: Path) -> None:
    assert judged(study(tmp_path, (94, 94.1, 93.9), 150)).verdict.word == "loses"


def test_where_rs2_would_be_dense_it_is_not_asked_for(tmp_path: Path) -> None:
    write_arm(tmp_path, "dense", DENSE, 100, epochs=10)
    write_arm(tmp_path, "ast", (96, 96.1, 95.9), 100, rate=0.4, epochs=10)
    write_arm(tmp_path, "seta", (96, 96.1, 95.9), 100, rate=0.4, epochs=20)
    assert judged(tmp_path).verdict.word == "wins"
    assert judged(tmp_path, "seta").verdict.reasons == ("no rs2 or random runs to compare with",)


def test_trials_are_left_out(tmp_path: Path) -> None:
    root = study(tmp_path)
    write_run(root / "try", method="ast", seed=10**6, accuracy=99.0, cost=40, rate=0.4, tags=["trial"])
    found = compared(root)
    assert found.arms[-1].seeds == [0, 1, 2]
    assert found.notes == ("learning-rate trials skipped: 1",)


def test_nothing_to_compare_with(tmp_path: Path) -> None:
    write_arm(tmp_path, "ast", (94, 94.1, 93.9), 40, rate=0.4)
    assert judged(tmp_path).verdict.reasons == ("no dense, rs2 or random runs to compare with",)


def test_hardware_does_not_matter_to_flops(tmp_path: Path) -> None:
    root = study(tmp_path, hardware=GPU | {"gpu_uuid": "GPU-2"})
    assert judged(root, x="flops").verdict.word == "wins"
    assert judged(root, x="seconds").verdict.word == "not comparable"


@pytest.mark.parametrize(
    ("changes", "need"),
    [
        ({"energy": {"source": "nvml", "gpu_joules": 12e3}}, "a measurement of idle power"),
        ({"started": "2026-02-01", "finished": "2026-02-02"}, "runs interleaved with those of its baselines"),
        ({"resumed": 1}, "uninterrupted runs"),
        ({"commit": "badcafe"}, "runs of the same commit"),
        ({"rate": 0.6}, "an rs2 or random run at the same activation rate"),
        ({}, "5 seeds"),
    ],
)
def test_what_a_claim_needs(tmp_path: Path, changes: dict[str, Any], need: str) -> None:
    verdict = judged(study(tmp_path, **changes)).verdict
    assert verdict.word == "wins"
    assert set(verdict.needs) == {need, "5 seeds"}


def test_random_is_judged_where_there_is_rs2(tmp_path: Path) -> None:
    root = study(tmp_path)
    write_arm(root, "random", (92.0, 92.1, 91.9), 40, rate=0.4)
    assert judged(root, "random").verdict.word == "loses"
    assert judged(root, "dense").verdict.word == judged(root, "rs2").verdict.word == "baseline"
    for path in root.glob("rs2*/result.json"):
        path.unlink()
    assert judged(root, "random").verdict.word == "baseline"


def test_the_margin_can_be_set(tmp_path: Path) -> None:
    root = study(tmp_path, (93.5, 93.6, 93.4))
    assert judged(root).verdict.word == "wins"
    assert judged(root, margin=0.6).verdict.word == "equal"


def test_arms(tmp_path: Path) -> None:
    root = study(tmp_path)
    write_run(root / "again", method="ast", seed=0, accuracy=96.0, cost=40, rate=0.4)
    write_run(root / "dead", method="ast", seed=3, accuracy=0, cost=40, rate=0.4, status="failed")
    found = compared(root)
    assert [arm.label for arm in found.arms] == ["dense epochs=10", "dense epochs=4", "rs2", "ast"]
    assert [arm.baseline_only for arm in found.arms] == [False, True, True, False]
    ast = found.arms[-1]
    assert ast.values("accuracy", [0, 1, 9]).tolist()[:2] == [95.0, 94.1]  # the mean of two runs of seed 0
    assert ast.failed == 1
    assert any("repeat a seed" in note for note in found.notes)
    assert any("1 more run failed" in line for line in remarks(found.results[-1], "joules"))


def test_cpu_joules_never_replace_a_gpus(tmp_path: Path) -> None:
    energy = {"source": None, "cpu_source": "rapl", "cpu_joules": 5e3}
    on_gpu = write_run(tmp_path / "gpu", method="ast", seed=0, accuracy=90, cost=40, energy=energy)
    on_cpu = write_run(tmp_path / "cpu", method="ast", seed=0, accuracy=90, cost=40, energy=energy, hardware=CPU)
    runs = {run.name.rpartition("/")[2]: run for run in load([on_gpu, on_cpu]).runs}
    assert "joules" not in runs["gpu"].figures
    assert (runs["cpu"].figures["joules"], runs["cpu"].source) == (5e3, "rapl")


@pytest.mark.parametrize(
    ("accuracy", "skipped", "rate", "expected"),
    [
        (78, 0.90, 0.10, "excellent"),
        (78, 0.90, 0.095, "excellent"),
        (79, 0.906, 0.094, "target"),  # below the range of rates of the level above
        (78, 0.89, 0.11, "target"),
        (77.9, 0.90, 0.10, "target"),
        (75, 0.88, 0.12, "target"),
        (74.9, 0.88, 0.12, "minimum"),
        (90, 0.93, 0.07, "minimum"),
        (70, 0.85, 0.15, "minimum"),
        (69.9, 0.95, 0.10, "not met"),
        (95, 0.60, 0.40, "not met"),
    ],
)
def test_published_criteria(accuracy: float, skipped: float, rate: float, expected: str) -> None:
    assert level(accuracy, skipped, rate) == expected


def test_all_runs_have_to_meet_the_criteria(tmp_path: Path) -> None:
    write_arm(tmp_path, "dense", DENSE, 100)
    write_arm(tmp_path, "ast", (79, 76, 80), 40, rate=0.1)
    (met,) = compared(tmp_path).criteria
    assert (met.level, met.by_run) == ("target", ("excellent", "target", "excellent"))
    write_run(tmp_path / "dead", method="ast", seed=3, accuracy=0, cost=40, rate=0.1, status="failed")
    assert [met.level for met in criteria(compared(tmp_path).arms)] == ["not met"]


def test_predictions(tmp_path: Path) -> None:
    write_arm(tmp_path, "ast", (79, 76, 80), 40, rate=0.125, dataset="imagenet100")
    (met,) = compare(load([tmp_path]), "imagenet100").criteria
    assert met.predicted == {"accuracy": "as predicted", "skipped_share": "below", "rate": "above"}


@pytest.mark.parametrize(
    ("changes", "arms"),
    [
        ({"batch": {"rows": 128, "at_once": 128, "processes": 1}}, 1),
        ({"batch": {"rows": 128, "at_once": 64, "processes": 1}}, 2),
        ({"batch": {"rows": 128, "at_once": 64, "processes": 2}}, 2),
        ({"batch": {"rows": 128, "at_once": 64, "processes": 1}, "batch_split_from_step": 40}, 2),
    ],
)
def test_runs_whose_batches_were_split_are_an_arm_of_their_own(
    tmp_path: Path, changes: dict[str, Any], arms: int
) -> None:
    for seed in range(2):
        write_run(tmp_path / f"whole_{seed}", method="ast", seed=seed, accuracy=90.0, cost=10.0)
        write_run(tmp_path / f"split_{seed}", method="ast", seed=seed + 2, accuracy=90.0, cost=10.0, **changes)
    assert len(group(load([tmp_path]).runs, measured=False)) == arms
