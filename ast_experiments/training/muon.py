"""Muon for weight matrices and filters, SGD with Nesterov momentum for biases and the head."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = [(3.4445, -4.7750, 2.0315)]
"""Coefficients of K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024)."""

STEPS = 3
"""Newton-Schulz iterations of an update. Three suffice for filters that are normalised."""


class MuonSGD(torch.optim.Optimizer):
    """Muon with normalised filters for what has two dimensions or more, SGD for the biases and the head.

    Before each update a filter bank is scaled to one Frobenius norm, the root of its output channels, so that the
    learning rate is the relative size of an update, whatever the width. Weight decay acts on the SGD groups alone.

    Muon: K. Jordan et al. 2024, as applied in airbench94_muon. The orthogonalisation is timm's.

    Args:
        model: Its parameters that require gradients. The head is the last of them with two dimensions.
        lr: Of Muon, relative to the norm of a filter bank.
        momentum: Of Muon, Nesterov.
        bias_lr: Of SGD for one-dimensional parameters; the gradient is that of the batch's mean loss.
        head_lr: Of SGD for the head; the same.
        sgd_momentum: Of SGD, Nesterov.
        weight_decay: Of the SGD groups, per step at the highest learning rate.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        lr: float,
        momentum: float,
        bias_lr: float,
        head_lr: float,
        sgd_momentum: float,
        weight_decay: float,
    ) -> None:
        trained = [p for p in model.parameters() if p.requires_grad]
        matrices = [p for p in trained if p.ndim >= 2]
        head = next((p for p in reversed(matrices) if p.ndim == 2), None)
        biases = [p for p in trained if p.ndim < 2]

        def sgd(parameters: list[nn.Parameter], rate: float) -> dict[str, Any]:
            settings = {"lr": rate, "momentum": sgd_momentum, "weight_decay": weight_decay / rate}
            return {"params": parameters, "orthogonal": False, **settings}

        groups = [
            {
                "params": [p for p in matrices if p is not head],
                "orthogonal": True,
                "lr": lr,
                "momentum": momentum,
                "weight_decay": 0.0,
            },
            sgd(biases, bias_lr),
            sgd([] if head is None else [head], head_lr),
        ]
        super().__init__([group for group in groups if group["params"]], {})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Update all parameters that have a gradient."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for parameter, momentum in self._with_momentum(group):
                if group["orthogonal"]:
                    _update_filters(parameter, momentum, group)
                else:
                    _update_by_sgd(parameter, momentum, group)
        return loss

    def _with_momentum(self, group: dict[str, Any]) -> Iterator[tuple[nn.Parameter, Tensor]]:
        for parameter in group["params"]:
            if parameter.grad is not None:
                state = self.state[parameter]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                yield parameter, state["momentum_buffer"]


def _update_filters(parameter: Tensor, buffer: Tensor, group: dict[str, Any]) -> None:
    from timm.optim.muon import zeropower_via_newtonschulz

    assert parameter.grad is not None
    buffer.mul_(group["momentum"]).add_(parameter.grad)
    direction = parameter.grad.add(buffer, alpha=group["momentum"]).flatten(1)
    update = zeropower_via_newtonschulz(direction, STEPS, NEWTON_SCHULZ)
    parameter.mul_(len(parameter) ** 0.5 / parameter.norm())
    parameter.add_(update.view(parameter.shape), alpha=-group["lr"])


def _update_by_sgd(parameter: Tensor, buffer: Tensor, group: dict[str, Any]) -> None:
    assert parameter.grad is not None
    gradient = parameter.grad.add(parameter, alpha=group["weight_decay"])
    buffer.mul_(group["momentum"]).add_(gradient)
    parameter.add_(gradient.add_(buffer, alpha=group["momentum"]), alpha=-group["lr"])
