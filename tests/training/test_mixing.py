"""Mixup, cutmix, label smoothing and soft labels with every method; what cannot work together is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from run_tools import run

from ast_experiments.config.checks import check
from ast_experiments.config.compose import load_config
from ast_experiments.config.schema import CHOICES
from ast_experiments.core.batch import Batch
from ast_experiments.core.errors import ConfigError
from ast_experiments.selection.find import find
from ast_experiments.training.step import Stepper, build_mixer, per_sample_loss

SMALL = ["dataset.train_rows=400", "recipe.epochs=2", "eval_every=2"]
MIXABLE = sorted(name for name in CHOICES["method"] if not find("method", name).unmixable)
HELD_OUT = {"rho_loss": ["holdout=0.1"]}


@pytest.mark.parametrize("method", MIXABLE)
def test_methods_train_on_mixed_rows(tmp_path: Path, method: str) -> None:
    mixed = ["recipe.mixup=0.2", "recipe.cutmix=1.0", "recipe.label_smoothing=0.1"]
    result = run(tmp_path, [*SMALL, f"method={method}", *HELD_OUT.get(method, []), *mixed])
    assert result["status"] == "finished"
    assert result["rows_trained"] > 0


@pytest.mark.parametrize("method", MIXABLE)
def test_methods_train_towards_soft_labels(tmp_path: Path, method: str) -> None:
    file = tmp_path / "soft.npy"
    np.save(file, np.random.default_rng(0).dirichlet(np.ones(10), 400))
    result = run(tmp_path, [*SMALL, f"method={method}", *HELD_OUT.get(method, []), f"recipe.soft_labels={file}"])
    assert result["status"] == "finished"


REFUSED = {
    "kakurenbo": (["method=kakurenbo", "recipe.mixup=0.2"], "recipe.mixup: does not work with method=kakurenbo"),
    "soft kakurenbo": (["method=kakurenbo", "recipe.soft_labels=a.npy"], "type recipe.soft_labels=null"),
    "masked": (
        ["method=ast_masked", "recipe.cutmix=1.0"],
        "recipe.cutmix: does not work with method=ast_masked: unlike",
    ),
}


@pytest.mark.parametrize(("overrides", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_work_together_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check(load_config(overrides))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((5, 10), 0.1), r"has shape \(5, 10\); expected probabilities of shape \(400, 10\)"),
        (np.full((400, 10), 0.2), "adding up to 1 in each row"),
        (None, "cannot be read as a .npy file"),
    ],
)
def test_wrong_soft_labels_are_refused(tmp_path: Path, array: np.ndarray | None, message: str) -> None:
    file = tmp_path / "soft.npy"
    if array is not None:
        np.save(file, array)
    with pytest.raises(ConfigError, match=message):
        run(tmp_path, [*SMALL, f"recipe.soft_labels={file}"])


def test_the_loss_of_a_mixed_row_is_that_of_its_two_labels() -> None:
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    labels, others, share = torch.tensor([0, 1, 2, 1]), torch.tensor([1, 0, 1, 2]), 0.3
    soft = share * torch.eye(3)[labels] + (1 - share) * torch.eye(3)[others]
    by_hand = share * per_sample_loss(logits, labels, 0.1) + (1 - share) * per_sample_loss(logits, others, 0.1)
    torch.testing.assert_close(per_sample_loss(logits, soft, 0.1), by_hand)


def test_rows_are_mixed_after_selection_and_recorded_for_their_own_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    from ast_experiments.training.hardware import Hardware

    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    mix = build_mixer(0.5, 0.0, 3)
    assert mix is not None
    stepper = Stepper(
        model, torch.optim.SGD(model.parameters(), lr=0.0), Hardware(torch.device("cpu"), torch.float32), mix=mix
    )
    images = torch.rand(5, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    batch = Batch(torch.arange(5), images, torch.tensor([0, 1, 2, 0, 1]))
    torch.manual_seed(3)
    outputs, _ = stepper.train(batch, lambda batch, outputs: None)
    torch.manual_seed(3)
    mixed, soft = mix(images, batch.labels)
    torch.testing.assert_close(outputs.losses, per_sample_loss(model(mixed), soft).detach())
    assert not torch.equal(mixed, images)
    torch.testing.assert_close(batch.images, images)  # the selector's own rows stay as they were


def test_no_mixing_by_default() -> None:
    assert build_mixer(0.0, 0.0, 10) is None
