"""The script that studies the regimes: its commands, and what it keeps of the runs that are there."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

from ast_experiments.cli.bench import planned

FIGURES = {  # accuracies by seed, FLOPs of training and scoring, baselines that the arm is
    "ast-rate=0.5-rate_schedule=auto": ("ast", (82.0, 83.0, 84.0), (3e15, 0), ()),
    "dense-epochs=4": (
        "dense",
        (81.0, 82.0, 81.5),
        (3e15, 0),
        ("baseline=dense_shorter:ast rate=0.5 rate_schedule=auto",),
    ),
    "rs2-rate=0.495": ("rs2", (81.0, 81.0, 81.0), (3e15, 0), ("baseline=rs2:ast rate=0.5 rate_schedule=auto",)),
    "rho_loss-recipe.epochs=6-rate=0.29": ("rho_loss", (80.0, 81.0, 81.0), (1e15, 2e15), ()),
}


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    monkeypatch.chdir(tmp_path)
    return importlib.import_module("study_regimes")


def test_commands(script: ModuleType) -> None:
    study = planned(script.command("noise_20", "r", [1, 2], [], ["infobatch", "rho_loss"]))[0].study
    assert [arm.label for arm in study.with_baselines] == [
        "ast rate=0.5 rate_schedule=auto",
        "ast rate=0.5 rate_schedule=auto noise_robust=false",
    ]
    assert {"dataset.train_rows=27778", "holdout=0.1", "dataset.label_noise=0.2"} <= set(study.common)
    assert (study.name, study.seeds, study.lr_trials) == ("r_noise_20", (1, 2), 2)
    for regime, label in (
        ("clean", "infobatch recipe.epochs=5 full_after=0.8"),
        ("longer", "infobatch recipe.epochs=14"),
    ):
        study = planned(script.command(regime, "r", [1], ["lr_trials=0"], ["infobatch"]))[0].study
        assert study.arms[-1].label == label
        assert "dataset.train_rows=25000" in study.common
    assert planned(script.command("clean", "r", [1], []))[0].study.baselines is None
    with pytest.raises(ValueError, match="8 and 20 epochs, not 4"):
        script.command("clean", "r", [1], ["recipe.epochs=4"], ["infobatch"])


def test_the_table_and_what_is_kept(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    plan, folder = planned(script.command("clean", "r", [1, 2, 3], [], ["rho_loss"]))
    for name, (method, accuracies, (train, score), tags) in FIGURES.items():
        for seed, accuracy in enumerate(accuracies, start=1):
            run = folder / "runs" / name / f"seed_{seed}"
            run.mkdir(parents=True)
            result = {
                "status": "finished", "seed": seed, "method": method, "tags": tags, "final_accuracy": accuracy,
                "rows_trained": 100, "flops": {"train": train, "score": score}, "batch": {"lr": 0.24},
            }  # fmt: skip
            (run / "result.json").write_text(json.dumps(result))
    plan.write(folder)
    kept = Path("kept.json")
    old = {"command": "ast-bench name=r_clean seeds=1", "settings": {"tail_50": "dataset.imbalance=50"}, "title": "t"}
    kept.write_text(json.dumps({**old, "regimes": {"tail_50": {"arms": {}}, "clean": {"arms": {}}}}))
    script.save(kept, script.table("r"))
    saved = json.loads(kept.read_text())
    assert (list(saved), list(saved["regimes"])) == (["title", "regimes"], ["clean", "tail_50"])
    assert saved["regimes"]["tail_50"]["command"] == "ast-bench name=r_tail_50 seeds=1 dataset.imbalance=50"
    clean = saved["regimes"]["clean"]
    assert "rho_loss:recipe.epochs=6:rate=0.29]' 'baselines=[ast]' lr_trials=2 cost=flops" in clean["command"]
    rho = clean["arms"]["rho_loss-recipe.epochs=6-rate=0.29"]
    assert (rho["lr"], rho["runs"]["1"]["pflop"]) == (0.24, 3.0)
    shorter = clean["differences"]["ast rate=0.5 rate_schedule=auto"]["dense_shorter"]
    assert (shorter["mean"], shorter["seeds"]) == (1.5, 3)
    assert [(pair["arm"], pair["minus"], pair["mean"]) for pair in clean["rivals"]] == [
        ("rho_loss-recipe.epochs=6-rate=0.29", "dense-epochs=4", -0.83),
        ("ast-rate=0.5-rate_schedule=auto", "rho_loss-recipe.epochs=6-rate=0.29", 2.33),
    ]
    assert clean["rivals"][1]["interval"] == [0.9, 3.77]
    assert (
        "ast-rate=0.5-rate_schedule=auto - rho_loss-recipe.epochs=6-rate=0.29: 2.33 [0.9, 3.77]"
        in capsys.readouterr().out
    )
    # What was read in one sitting stays in the next.
    script.save(kept, {})
    assert json.loads(kept.read_text()) == saved
