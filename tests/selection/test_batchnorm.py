"""A scoring pass leaves the running statistics of BatchNorm alone, whoever asks for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ast_experiments.config.compose import load_config
from ast_experiments.runs import build as building
from ast_experiments.runs import networks
from ast_experiments.tracking import Trackers
from ast_experiments.training.auxiliary_model import AuxiliaryNetwork
from ast_experiments.training.batches import planned_batches

METHODS = {
    "gather": ["method=ast_fresh"],
    "gather, packing=false": ["method=ast_fresh", "method.packing=false"],
    "gather, smaller images": ["method=ast_fresh", "method.score_size=6"],
    "gather, topk": ["method=ast_fresh", "controller=topk"],
    "gather by a proxy": ["method=ast_fresh", "method.score_net=proxy"],
    "gather by a proxy, smaller images": ["method=ast_fresh", "method.score_net=proxy", "method.score_size=4"],
    "selective_backprop": ["method=selective_backprop_fresh"],
    "selective_backprop, stale": ["method=selective_backprop", "method.fresh_every=1"],
    "kakurenbo": ["method=kakurenbo", "recipe.warmup_epochs=0", "method.confidence=0", "method.hide=0.9"],
    "rho_loss": ["method=rho_loss", "holdout=0.2", "method.rate=0.3", "method.irreducible_epochs=1"],
    "proxy": ["method=proxy"],
}


class Normed(nn.Module):
    """A network of any width and image size, with BatchNorm."""

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        channels = round(16 * width)
        self.layers = nn.Sequential(
            nn.Conv2d(1, channels, 3),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(channels, 10),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images)


def statistics(model: nn.Module) -> list[torch.Tensor]:
    return [buffer.clone() for buffer in model.buffers()]


def same(before: list[torch.Tensor], after: list[torch.Tensor]) -> bool:
    return all(map(torch.equal, before, after))


def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str]) -> tuple[Any, list[AuxiliaryNetwork]]:
    """A run of a network with BatchNorm, and the auxiliary models that its method has."""
    sides: list[AuxiliaryNetwork] = []
    init = AuxiliaryNetwork.__init__

    def noted(self: AuxiliaryNetwork, *args: Any) -> None:
        init(self, *args)
        sides.append(self)

    monkeypatch.setattr(AuxiliaryNetwork, "__init__", noted)
    monkeypatch.setattr(building, "build_model", lambda *_, **__: Normed())
    monkeypatch.setattr(networks.models, "build_auxiliary", lambda *_, width, **__: Normed(width))
    base = ["tracking=jsonl", "dataset.train_rows=300", "recipe.epochs=3", "recipe.batch_size=16", "energy=nominal"]
    run = building.build_run(load_config([*base, *overrides]), tmp_path, lambda facts: Trackers([]))
    run.stepper.model.train()
    return run, sides


@pytest.mark.parametrize("overrides", METHODS.values(), ids=METHODS.keys())
def test_scoring_leaves_the_statistics_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str]
) -> None:
    run, sides = built(tmp_path, monkeypatch, overrides)
    model, learned = run.stepper.model, []
    learn = AuxiliaryNetwork.learn

    def noted(self: AuxiliaryNetwork, batch: Any, progress: float) -> None:
        before = statistics(self.model)
        learn(self, batch, progress)
        learned.append(self)
        assert not same(before, statistics(self.model))

    score = AuxiliaryNetwork.score

    def still(self: AuxiliaryNetwork, batch: Any) -> Any:
        before = statistics(self.model)
        outputs = score(self, batch)
        assert same(before, statistics(self.model))
        assert self.model.training
        return outputs

    monkeypatch.setattr(AuxiliaryNetwork, "learn", noted)
    monkeypatch.setattr(AuxiliaryNetwork, "score", still)
    for epoch in range(2):
        before = statistics(model)
        plan = run.selector.plan(epoch, 0.3)
        for loaded in planned_batches(run.train, plan, epoch, 0):
            for batch in run.selector.select(loaded, run.scorer):
                assert same(before, statistics(model)), "scoring moved the statistics"
                run.selector.observe(batch, run.stepper.train(batch, run.selector.weigh)[0])
                assert not same(before, statistics(model))
                before = statistics(model)
        run.selector.end_epoch(run.scorer)
        assert same(before, statistics(model))
        assert model.training
    assert run.ledger.scored > 0
    assert len(sides) == (1 if learned else 0)


def test_the_published_mode_moves_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = built(tmp_path, monkeypatch, ["method=ast_fresh", "method.score_mode=train"])
    before = statistics(run.stepper.model)
    plan = run.selector.plan(0, 0.3)
    list(run.selector.select(next(planned_batches(run.train, plan, 0, 0)), run.scorer))
    assert not same(before, statistics(run.stepper.model))


def test_the_statistics_are_used_in_scoring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = built(tmp_path, monkeypatch, ["method=ast_fresh"])
    batch = run.train.fetch(torch.arange(8), 0)
    alone = [run.scorer(batch.take(slice(i, i + 1))).losses for i in range(8)]
    assert torch.allclose(torch.cat(alone), run.scorer(batch).losses, atol=1e-6)
