"""A run on altered data counts the altered rows among those that it trains, resumes, and says what the data is."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from no_reads import NoReads
from run_tools import assert_same_run, interrupt_at, run

from ast_experiments.analysis.curves import panels
from ast_experiments.config.checks import check
from ast_experiments.config.compose import load_config
from ast_experiments.config.schema import CHOICES
from ast_experiments.core.errors import ConfigError, Interrupted
from ast_experiments.data.build import split
from ast_experiments.data.regimes import OFF
from ast_experiments.runs.build import build_dataset
from ast_experiments.runs.identity import config_hash
from ast_experiments.runs.record import read_run
from ast_experiments.runs.resume import saved_config
from ast_experiments.training.altered import AlteredRows
from ast_experiments.training.loop import Trainer
from ast_experiments.training.step import Stepper

ALL = ["dataset.label_noise=0.2", "dataset.duplicates=0.5", "dataset.imbalance=3", "dataset.corruption=0.1"]
KINDS = ("tail", "duplicates", "label_noise", "corruption")


def epochs(folder: Path) -> list[dict[str, Any]]:
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [row for row in rows if row["kind"] == "epoch"]


def test_rows_of_weight_zero_do_not_count() -> None:
    flags = {"label_noise": np.array([True, True, False, False]), "tail": np.array([False, True, True, False])}
    counter = AlteredRows(flags, "cpu")
    with NoReads():
        counter.count(torch.tensor([0, 2, 3]), None)
        counter.count(torch.tensor([1, 0]), torch.tensor([0.5, 0.0]))
    again = AlteredRows(flags, "cpu")
    again.load_state_dict(counter.state_dict())
    for each in (counter, again):
        assert each.end_epoch(4) == {"epoch/label_noise_share": 0.5, "epoch/tail_share": 0.5}
        assert each.end_epoch(0) == {}


@pytest.mark.parametrize(
    "overrides",
    [["method=dense"], ["method=ast"], ["method=ast_masked"], ["method=rho_loss", "method.rate=0.4", "holdout=0.2"]],
    ids=str,
)
def test_the_shares_are_those_of_the_trained_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str]
) -> None:
    trained: list[int] = []
    train, step = Stepper.train, Trainer._step

    def watched(self: Stepper, batch: Any, weigh: Any) -> Any:
        outputs, weights = train(self, batch, weigh)
        trained.extend(batch.ids.tolist() if weights is None else batch.ids[weights > 0].tolist())
        return outputs, weights

    def watched_step(self: Trainer, *args: Any) -> None:  # auxiliary models train outside it
        with monkeypatch.context() as patch:
            patch.setattr(Stepper, "train", watched)
            step(self, *args)

    monkeypatch.setattr(Trainer, "_step", watched_step)
    result = run(tmp_path, ["recipe.epochs=2", *overrides, *ALL])
    share = 0.2 if "holdout=0.2" in overrides else 0.0
    dataset, _ = split(build_dataset(load_config(["dataset.train_rows=400", *ALL])), share, validate=False, learn=True)
    assert result["altered_rows"] == {kind: dataset.altered[kind].sum() for kind in KINDS}
    start = 0
    for row in epochs(tmp_path):
        ids = trained[start : start + row["epoch/rows_trained"]]
        start += len(ids)
        for kind in KINDS:
            assert row[f"epoch/{kind}_share"] == pytest.approx(dataset.altered[kind][ids].mean()), kind
    assert start == len(trained)


def test_a_run_on_altered_data_resumes_bit_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path / "whole", ALL)
    interrupt_at(monkeypatch, {0, 3, 7})
    for _ in range(3):
        with pytest.raises(Interrupted):
            run(tmp_path / "broken", ALL)
    run(tmp_path / "broken", ALL)
    assert_same_run(tmp_path / "whole", tmp_path / "broken")


def test_a_run_on_the_data_as_it_is_says_nothing_of_it(tmp_path: Path) -> None:
    result = run(tmp_path, ["recipe.epochs=1"])
    assert "altered_rows" not in result
    assert not [key for row in epochs(tmp_path) for key in row if key.removeprefix("epoch/").startswith(KINDS)]


def test_the_page_shows_the_shares_beside_those_of_the_data(tmp_path: Path) -> None:
    result = run(tmp_path, ["recipe.epochs=2", *ALL])
    (panel,) = [each for each in panels(read_run(tmp_path)) if each.title == "Altered rows"]
    assert len(panel.series) == 2 * len(KINDS)
    for series in panel.series[1::2]:
        kind = series.label.removesuffix(", all rows").replace(" ", "_")
        np.testing.assert_allclose(series.y, result["altered_rows"][kind] / result["train_samples"])


@pytest.mark.parametrize("name", CHOICES["dataset"])
def test_every_data_set_is_as_it_is_by_default(name: str) -> None:
    settings = dataclasses.asdict(load_config([f"dataset={name}"]).dataset)
    assert {key: settings[key] for key in OFF} == OFF


def test_a_config_from_before_there_were_regimes_is_the_same(tmp_path: Path) -> None:
    run(tmp_path, ["max_steps=2"])
    file = tmp_path / "config.yaml"
    config = yaml.safe_load(file.read_text())
    for key in OFF:
        del config["dataset"][key]
    before = config_hash(saved_config(tmp_path))
    file.write_text(yaml.safe_dump(config))
    assert config_hash(saved_config(tmp_path)) == before


@pytest.mark.parametrize("setting", [*ALL, "dataset.label_noise_kind=pairs", "dataset.regime_seed=1"])
def test_a_regime_is_in_the_config_hash(setting: str) -> None:
    assert config_hash(load_config([setting])) != config_hash(load_config([]))


def test_the_seed_of_the_run_does_not_change_the_data() -> None:
    marks = {build_dataset(load_config([*ALL, f"seed={seed}"])).fingerprint for seed in (0, 1)}
    assert len(marks) == 1
    assert build_dataset(load_config([*ALL, "dataset.regime_seed=1"])).fingerprint not in marks


@pytest.mark.parametrize("setting", ALL[:3])
def test_soft_labels_do_not_go_with_other_labels(setting: str) -> None:
    with pytest.raises(ConfigError, match=r"recipe.soft_labels: .*type recipe.soft_labels=null"):
        check(load_config([setting, "recipe.soft_labels=x.npy"]))
