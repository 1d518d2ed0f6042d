"""The table of samples that a run leaves: what it trained, how often, when and with which loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from no_reads import NoReads
from run_tools import interrupt_at, run, stable_rows

from ast_experiments.config.compose import load_config
from ast_experiments.core.batch import Batch, Outputs
from ast_experiments.core.errors import Interrupted
from ast_experiments.runs.build import build_dataset
from ast_experiments.selection.suspects import NoiseEstimate
from ast_experiments.training.loop import Trainer
from ast_experiments.training.predictions import Predictions
from ast_experiments.training.samples import SampleTable
from ast_experiments.training.step import Stepper


def table(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "samples.npz", allow_pickle=False) as file:
        return dict(file)


def step(ids: list[int], losses: list[float]) -> tuple[Batch, Outputs]:
    rows = len(ids)
    batch = Batch(torch.tensor(ids), torch.zeros(rows, 1, 2, 2), torch.zeros(rows, dtype=torch.int64))
    return batch, Outputs(torch.zeros(rows, 4), torch.tensor(losses))


def test_a_table_by_hand() -> None:
    made = SampleTable({"label": np.array([3, 1, 2])}, 3, "cpu")
    with NoReads():
        made.record(*step([2, 0], [0.5, 1.0]), None)
    made.commit(0)
    with NoReads():
        made.record(*step([0, 1], [0.25, 9.0]), torch.tensor([2.0, 0.0]))
    made.commit(1)
    expected: dict[str, list[float]] = {
        "id": [0, 1, 2], "label": [3, 1, 2], "visits": [2, 0, 1], "last_loss": [0.25, np.nan, 0.5],
        "previous_loss": [1.0, np.nan, np.nan], "first_epoch": [0, -1, 0], "last_epoch": [1, -1, 0],
    }  # fmt: skip
    columns = made.columns()
    assert list(columns) == list(expected)
    for key, values in expected.items():
        np.testing.assert_array_equal(columns[key], values)


@pytest.mark.parametrize("method", ["dense", "ast", "ast_masked", "selective_backprop"])
def test_the_table_is_that_of_the_trained_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    losses: list[dict[int, float]] = []
    logits: dict[int, list[np.ndarray]] = {}
    train = Stepper.train

    def watched(self: Stepper, batch: Any, weigh: Any) -> Any:
        outputs, weights = train(self, batch, weigh)
        kept = slice(None) if weights is None else weights > 0
        losses[-1] |= dict(zip(batch.ids[kept].tolist(), outputs.losses[kept].tolist(), strict=True))
        for row, values in zip(batch.ids[kept].tolist(), outputs.logits[kept].float().numpy(), strict=True):
            logits.setdefault(row, []).append(values)
        return outputs, weights

    epoch = Trainer.run_epoch
    monkeypatch.setattr(Trainer, "run_epoch", lambda *args: (losses.append({}), epoch(*args)))
    monkeypatch.setattr(Stepper, "train", watched)
    settings = ["dataset.label_noise=0.1", "recipe.epochs=3"]
    run(tmp_path, [f"method={method}", *settings])
    found = table(tmp_path)
    dataset = build_dataset(load_config(["dataset.train_rows=400", *settings]))
    np.testing.assert_array_equal(found["label"], dataset.train.labels)
    np.testing.assert_array_equal(found["label_noise"], dataset.altered["label_noise"])
    assert len(losses) == 3
    for row in range(400):
        seen = [epoch for epoch, those in enumerate(losses) if row in those]
        values = [losses[epoch][row] for epoch in seen]
        assert found["visits"][row] == len(seen)
        assert (found["first_epoch"][row], found["last_epoch"][row]) == ((seen[0], seen[-1]) if seen else (-1, -1))
        expected = [*[np.nan] * 2, *values][-2:]
        np.testing.assert_allclose([found["previous_loss"][row], found["last_loss"][row]], expected, rtol=1e-6)
        check_predictions({key: values[row] for key, values in found.items()}, logits.get(row, []))


def check_predictions(found: dict[str, Any], logits: list[np.ndarray]) -> None:
    """Checks the row of a sample against the logits of all its visits."""
    if not logits:
        assert (found["predicted"], found["place"], found["contradictions"]) == (-1, -1, 0)
        assert np.isnan(found["confidence"])
        assert np.isnan(found["margin"])
        return
    last, label = logits[-1].astype(np.float64), found["label"]
    assert last[found["predicted"]] == last.max()  # a tie counts as the label
    assert found["place"] == (last > last[label]).sum()
    assert found["confidence"] == pytest.approx(np.exp(last.max()) / np.exp(last).sum(), abs=1e-3)
    margins = [each[label] - np.delete(each, label).max() for each in logits]
    assert found["margin"] == pytest.approx(np.mean(margins), abs=1e-4)
    assert found["contradictions"] == sum(margin < 0 for margin in margins)


@pytest.mark.parametrize("off", ["tracking.predictions=false", "recipe.mixup=0.2"])
def test_predictions_can_be_left_out(tmp_path: Path, off: str) -> None:
    result = run(tmp_path, ["method=dense", off, "recipe.epochs=1"])
    assert "predicted" not in table(tmp_path)
    assert "label_noise_estimate" not in result


def test_a_network_that_only_guesses_gives_no_estimate(tmp_path: Path) -> None:
    settings = ["method=dense", "dataset.label_noise=0.99", "dataset.label_noise_kind=pairs", "recipe.epochs=6"]
    result = run(tmp_path, [*settings, "dataset.train_rows=1200"])
    found = table(tmp_path)
    assert (found["predicted"] == found["label"]).mean() > 0.6, "the wrong labels are learned"
    assert result["final_accuracy"] < 10
    assert "label_noise_estimate" not in result


@pytest.mark.parametrize(("epochs", "estimated"), [(2, False), (3, True)])
def test_a_run_of_few_steps_gives_no_estimate(tmp_path: Path, epochs: int, estimated: bool) -> None:
    result = run(tmp_path, ["method=dense", "dataset.train_rows=1200", f"recipe.epochs={epochs}"])
    assert (result["steps"] >= 100) is estimated
    assert ("label_noise_estimate" in result) is estimated


def test_where_no_label_may_be_wrong_none_is_suspected(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.zeros(20, np.int64)
    samples = SampleTable({"label": labels}, 20, "cpu", classes=5)
    wrong = {"predicted": np.ones(20, np.int16), "margin": -np.ones(20, np.float32)}
    monkeypatch.setattr(samples, "columns", lambda: {"label": labels, **wrong})
    for low, count in ((0.0004, 0), (0.0006, 5)):
        monkeypatch.setattr(Predictions, "noise", lambda _, low=low: NoiseEstimate(0.25, low, 0.4))
        assert samples.noise()["suspects"] == count


def test_predictions_change_no_loss(tmp_path: Path) -> None:
    for on in ("true", "false"):
        run(tmp_path / on, [f"tracking.predictions={on}", "recipe.epochs=2"])
    losses = [[row.get("train/loss") for row in stable_rows(tmp_path / on)] for on in ("true", "false")]
    assert losses[0] == losses[1]


def test_a_resumed_run_leaves_the_same_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path / "whole", [])
    interrupt_at(monkeypatch, {3, 9, 14})
    for _ in range(3):
        with pytest.raises(Interrupted):
            run(tmp_path / "broken", [])
    run(tmp_path / "broken", [])
    whole, broken = table(tmp_path / "whole"), table(tmp_path / "broken")
    assert whole.keys() == broken.keys()
    for key, values in whole.items():
        np.testing.assert_array_equal(values, broken[key], key)
