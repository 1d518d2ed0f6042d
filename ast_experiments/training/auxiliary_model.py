"""Auxiliary models: small networks that a method trains alongside the run's own, charged to scoring."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ast_experiments.core import distributed
from ast_experiments.core.batch import Batch, Outputs
from ast_experiments.energy.flops import Flops
from ast_experiments.energy.ledger import Ledger
from ast_experiments.training.hardware import Hardware
from ast_experiments.training.optim import Schedule
from ast_experiments.training.step import mode_of, per_sample_loss, shrunk


class AuxiliaryNetwork:
    """A small network with its own optimiser: the `AuxiliaryModel` that a run gives its method.

    Its losses have the recipe's label smoothing. In a data-parallel run the loss is the mean over the rows of all
    ranks, so that every rank has the same weights. Under float16 the gradients are scaled, as those of the run's own
    network are.

    Args:
        model: On its device.
        optimizer: Of its parameters.
        schedule: Of its learning rate and label smoothing, by progress.
        hardware: Precision.
        ledger: Charged for everything that the model does.
        flops: Returns the FLOPs of one sample at the height and width in pixels that the network sees.
        size: Height and width in pixels to shrink larger images to; None keeps them.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        hardware: Hardware,
        ledger: Ledger,
        flops: Callable[[int], Flops],
        size: int | None,
    ) -> None:
        self.model = model.train()
        self._optimizer, self._schedule, self._hardware = optimizer, schedule, hardware
        self._ledger, self._flops, self._size = ledger, flops, size
        self._scaler = torch.amp.GradScaler(hardware.device.type, enabled=hardware.dtype == torch.float16)

    def learn(self, batch: Batch, progress: float) -> None:
        """Trains one step on the mean loss; `progress` in [0, 1) sets the learning rate."""
        flops = self._cost(batch)
        self._ledger.charge_score(0, 0, (flops.forward + flops.backward) * len(batch))
        with self._ledger.phase("score"):
            self._schedule.set(progress)
            if len(batch):
                with self._hardware.autocast():
                    logits = self.model(shrunk(batch.images, self._size))
                self._scaler.scale(self._losses(logits, batch).sum() / batch.rows).backward()
            if batch.rows:
                self._add_up()
                self._scaler.step(self._optimizer)
                self._scaler.update()
            self._optimizer.zero_grad(set_to_none=True)

    def _add_up(self) -> None:
        """Sums the scaled gradients over the ranks; a rank without rows adds zeros."""
        if distributed.size() == 1:
            return
        self._scaler.scale(torch.zeros((), device=self._hardware.device))  # sets up the scale on a rank without rows
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        own = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = distributed.all_reduce_sum(torch.cat([grad.flatten() for grad in own]))
        for p, total in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            p.grad = total.view_as(p)

    def score(self, batch: Batch) -> Outputs:
        """Scores a batch by a forward pass in eval mode, without gradients."""
        self._ledger.charge_score(len(batch), self._cost(batch).forward)
        with self._ledger.phase("score"), torch.no_grad(), mode_of(self.model, "eval"), self._hardware.autocast():
            logits = self.model(shrunk(batch.images, self._size))
            return Outputs(logits, self._losses(logits, batch))

    def _cost(self, batch: Batch) -> Flops:
        own = batch.images.shape[-1]
        return self._flops(min(self._size or own, own))

    def _losses(self, logits: Tensor, batch: Batch) -> Tensor:
        return per_sample_loss(logits, batch.labels, self._schedule.label_smoothing)

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of network, optimiser and gradient scaler."""
        states = {"model": self.model, "optimizer": self._optimizer, "scaler": self._scaler}
        return {name: part.state_dict() for name, part in states.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])


def auxiliary_model_maker(
    make_model: Callable[[float, str | None, int | None], nn.Module],
    make_optimizer: Callable[[nn.Module], tuple[torch.optim.Optimizer, Schedule]],
    count: Callable[[nn.Module, int | None], Callable[[int], Flops]],
    hardware: Hardware,
    ledger: Ledger,
) -> Callable[..., AuxiliaryNetwork]:
    """Returns `Context.auxiliary_model`, given what makes a network and its optimiser, and what counts its FLOPs."""

    def auxiliary_model(width: float = 0.25, arch: str | None = None, size: int | None = None) -> AuxiliaryNetwork:
        model = make_model(width, arch, size)
        return AuxiliaryNetwork(model, *make_optimizer(model), hardware, ledger, count(model, size), size)

    return auxiliary_model
