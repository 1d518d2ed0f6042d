"""One training step, and the scoring pass that selectors may ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ast_experiments.core import distributed
from ast_experiments.core.batch import Batch, Outputs
from ast_experiments.core.errors import UserError
from ast_experiments.energy.ledger import Ledger
from ast_experiments.training.hardware import Hardware

Mixer = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From images (n, c, h, w) and labels to mixed images and the probabilities of their classes (n, classes)."""


def per_sample_loss(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy in nats, float32, shape (n,); labels are class indices (n,) or probabilities (n, classes)."""
    return functional.cross_entropy(logits.float(), labels, reduction="none", label_smoothing=smoothing)


class Stepper:
    """Forward, backward and update of one network.

    The loss of a step is the mean of weight x loss over the rows of its batch, on all ranks.

    Args:
        model: On its device, in its memory format.
        optimizer: Of the model's parameters.
        hardware: Precision and compilation.
        label_smoothing: In [0, 1).
        clip_grad: Norm to clip gradients at, or None.
        ema: timm's moving average of the weights, or None.
        mix: Mixes the rows of a batch, after selection; a row's loss is that of the mixture it came first in.

    Attributes:
        at_once: Rows that go through the network together; None for whole batches. The gradient of a larger batch is
            added up from parts, which differs from the whole in what BatchNorm sees.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        hardware: Hardware,
        *,
        label_smoothing: float = 0.0,
        clip_grad: float | None = None,
        ema: Any = None,
        mix: Mixer | None = None,
    ) -> None:
        self.model, self.optimizer, self.hardware, self.ema = model, optimizer, hardware, ema
        self.label_smoothing, self._clip, self._mix = label_smoothing, clip_grad, mix
        self.at_once: int | None = None
        self._forward: Callable[[Tensor], Tensor] = torch.compile(model) if hardware.compile else model
        if distributed.size() > 1:
            devices = [hardware.device] if hardware.device.type == "cuda" else None
            self._forward = nn.parallel.DistributedDataParallel(self._forward, device_ids=devices)  # pyright: ignore
        self.scaler = torch.amp.GradScaler(hardware.device.type, enabled=hardware.dtype == torch.float16)
        self._parameters = [p for p in model.parameters() if p.requires_grad]

    @property
    def eval_model(self) -> nn.Module:
        """The network to evaluate: the moving average of the weights, if there is one."""
        return self.model if self.ema is None else self.ema.module

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Per-sample cross-entropy in nats with the recipe's label smoothing, float32, shape (n,)."""
        return per_sample_loss(logits, labels, self.label_smoothing)

    def train(self, batch: Batch, weigh: Callable[[Batch, Outputs], Tensor | None]) -> tuple[Outputs, Tensor | None]:
        """Trains on a batch; returns the detached outputs and the weights that were used."""
        outputs, weights = self._backward(batch, weigh)
        if self._clip is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self._parameters, self._clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema is not None:
            self.ema.update(self.model)
        return outputs, weights

    def dry_run(self, batch: Batch, *, alone: bool = False) -> None:
        """The arithmetic of a step without the update. Weights, statistics and draws stay as they are.

        Args:
            batch: Rows to use.
            alone: Whether to do it without the other ranks.
        """
        kept = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        forward = self._forward
        try:
            if alone and isinstance(forward, nn.parallel.DistributedDataParallel):
                self._forward = forward.module
            self._backward(batch, lambda batch, outputs: batch.weights)
        finally:
            self._forward = forward
            self.optimizer.zero_grad(set_to_none=True)
            for name, buffer in self.model.named_buffers():
                buffer.copy_(kept[name])

    def _backward(
        self, batch: Batch, weigh: Callable[[Batch, Outputs], Tensor | None]
    ) -> tuple[Outputs, Tensor | None]:
        """Adds the gradient of a batch."""
        images, labels = batch.images, batch.labels
        if self._mix is not None and len(batch):
            images, labels = self._mix(images, labels)
        parts = _parts(len(batch), self.at_once)
        done: list[tuple[Outputs, Tensor | None]] = []
        for rows in parts:
            part = batch if len(parts) == 1 else batch.take(rows, batch.rows)
            with self._alone() if rows is not parts[-1] else nullcontext():
                loss, outputs, weights = self._loss(part, images[rows], labels[rows], weigh)
                self.scaler.scale(loss).backward()
            done.append((outputs, weights))
        return done[0] if len(done) == 1 else _joined(done)

    def _loss(
        self, batch: Batch, images: Tensor, labels: Tensor, weigh: Callable[[Batch, Outputs], Tensor | None]
    ) -> tuple[Tensor, Outputs, Tensor | None]:
        if not len(batch):
            return self._no_loss(batch, weigh)
        with self.hardware.autocast(), _explained(len(batch)):
            logits = self._forward(images)
        losses = self.losses(logits, labels)
        outputs = Outputs(logits.detach(), losses.detach())
        weights = weigh(batch, outputs)
        weighted = losses if weights is None else weights * losses
        if distributed.size() == 1 and len(batch) == batch.rows:
            return weighted.mean(), outputs, weights
        # Gradients are averaged over the ranks; the loss is a mean over the rows of all of them and of all parts.
        return weighted.sum() * (distributed.size() / batch.rows), outputs, weights

    def _alone(self) -> Any:
        """While inside, gradients are not exchanged with other ranks."""
        shared = isinstance(self._forward, nn.parallel.DistributedDataParallel)
        return self._forward.no_sync() if shared else nullcontext()  # pyright: ignore

    def _no_loss(
        self, batch: Batch, weigh: Callable[[Batch, Outputs], Tensor | None]
    ) -> tuple[Tensor, Outputs, Tensor | None]:
        """For a rank without rows, which must step with the others: a loss of 0 that all parameters take part in."""
        with mode_of(self.model, "eval"), self.hardware.autocast():
            logits = self._forward(batch.images.new_zeros((1, *batch.images.shape[1:])))
        outputs = Outputs(logits[:0].detach(), logits.new_zeros(0, dtype=torch.float32))
        weigh(batch, outputs)
        return logits.float().sum() * 0.0, outputs, None


class Scorer:
    """Forward passes without gradients, charged to the ledger.

    Args:
        stepper: Whose network scores.
        ledger: What is charged.
        flops: FLOPs of a forward pass of one sample at so many pixels; None for the full size.
    """

    def __init__(self, stepper: Stepper, ledger: Ledger, flops: Callable[[int | None], int] = lambda size: 0) -> None:
        self._stepper, self._ledger, self._flops = stepper, ledger, flops

    def __call__(self, batch: Batch, mode: Literal["train", "eval"] = "eval", size: int | None = None) -> Outputs:
        """Score a batch (n,).

        Args:
            batch: What to score.
            mode: `eval` uses the running BatchNorm statistics and leaves them alone; `train` lets dropout act and
                moves the statistics, as the published code does.
            size: Pixels to shrink the images to first; None takes them as they are.
        """
        stepper = self._stepper
        self._ledger.charge_score(len(batch), self._flops(size))
        with self._ledger.phase("score"), torch.no_grad(), mode_of(stepper.model, mode), stepper.hardware.autocast():
            images = shrunk(batch.images, size)
            parts = [stepper.model(images[rows]) for rows in _parts(len(batch), stepper.at_once)]
            logits = parts[0] if len(parts) == 1 else torch.cat(parts)
            return Outputs(logits, stepper.losses(logits, batch.labels))


def _parts(rows: int, at_once: int | None) -> list[slice]:
    """As few parts of at most `at_once` rows as there can be, their sizes equal but for one row; one at least."""
    count = 1 if at_once is None else max(1, -(-rows // at_once))
    return [slice(rows * at // count, rows * (at + 1) // count) for at in range(count)]


def _joined(parts: Sequence[tuple[Outputs, Tensor | None]]) -> tuple[Outputs, Tensor | None]:
    outputs = Outputs(*(torch.cat([getattr(part, key) for part, _ in parts]) for key in ("logits", "losses")))
    weights = [weights for _, weights in parts if weights is not None]
    return outputs, torch.cat(weights) if weights else None


def shrunk(images: Tensor, size: int | None) -> Tensor:
    """Images (n, c, h, w) at `size` x `size` pixels, by the mean of what a pixel covers; as they are for None."""
    if size is None or size == images.shape[-1]:
        return images
    return functional.interpolate(images, size=(size, size), mode="area")


def build_mixer(mixup: float, cutmix: float, classes: int) -> Mixer | None:
    """Torchvision's mixup and cutmix with these alphas; with both, one of them by chance. None without either.

    Neighbours in the batch are mixed, and batches are in random order.
    """
    from torchvision.transforms import v2

    kinds: list[Any] = []
    if mixup:
        kinds.append(v2.MixUp(alpha=mixup, num_classes=classes))
    if cutmix:
        kinds.append(v2.CutMix(alpha=cutmix, num_classes=classes))
    if len(kinds) < 2:
        return kinds[0] if kinds else None
    return v2.RandomChoice(kinds)


@contextmanager
def _explained(rows: int) -> Iterator[None]:
    """What torch says of a batch of one row where BatchNorm has one pixel, in terms of settings."""
    try:
        yield
    except ValueError as error:
        if rows > 1 or "more than 1 value per channel" not in str(error):
            raise
        raise UserError(
            "a batch of one row reached a BatchNorm layer over one pixel, which has no variance: collect rows with "
            "method.packing=true, or choose a larger dataset.size or another recipe.batch_size"
        ) from error


@contextmanager
def mode_of(model: nn.Module, mode: str) -> Iterator[None]:
    """The model in `train` or `eval` mode while inside."""
    training = model.training
    if training == (mode == "train"):
        yield
        return
    model.train(mode == "train")
    try:
        yield
    finally:
        model.train(training)
