"""The training step, and the scoring pass that a run offers to its method."""

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
from ast_experiments.energy.flops import Flops
from ast_experiments.energy.ledger import Ledger
from ast_experiments.training.average import WeightAverage
from ast_experiments.training.hardware import Hardware

Mixer = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Takes images (n, c, h, w) and labels; returns mixed images and the probabilities of their classes (n, classes)."""


def per_sample_loss(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Returns the cross-entropy of each row in nats, float32, shape (n,).

    Args:
        logits: Shape (n, classes).
        labels: Class indices (n,) or probabilities (n, classes).
        smoothing: Label smoothing in [0, 1).
    """
    return functional.cross_entropy(logits.float(), labels, reduction="none", label_smoothing=smoothing)


class Stepper:
    """Makes training steps: forward pass, backward pass and update of one network.

    The loss of a step is the mean of weight x loss over the rows of the batch on all ranks.

    Args:
        model: The network, on its device and in its memory format.
        optimizer: Optimiser of its parameters.
        hardware: Device, precision and compilation.
        label_smoothing: Label smoothing in [0, 1).
        clip_grad: Largest norm of the gradient; None does not clip.
        average: Moving average of the weights; None for none.
        mix: Mixes the rows of a batch after selection (mixup, cutmix). The loss of row i is that of mixture i, of which
            row i is the first part.

    Attributes:
        at_once: Rows that go through the network together; None for whole batches. A larger batch is split, and the
            gradients of its parts are added up; BatchNorm then sees each part on its own.
        progress: Progress of the run after the step to come, in [0, 1].
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        hardware: Hardware,
        *,
        label_smoothing: float = 0.0,
        clip_grad: float | None = None,
        average: WeightAverage | None = None,
        mix: Mixer | None = None,
    ) -> None:
        self.model, self.optimizer, self.hardware, self.average = model, optimizer, hardware, average
        self.label_smoothing, self._clip, self._mix = label_smoothing, clip_grad, mix
        self.at_once: int | None = None
        self.progress = 0.0
        self._forward: Callable[[Tensor], Tensor] = torch.compile(model) if hardware.compile else model
        if distributed.size() > 1:
            devices = [hardware.device] if hardware.device.type == "cuda" else None
            self._forward = nn.parallel.DistributedDataParallel(self._forward, device_ids=devices)  # pyright: ignore
        self.scaler = torch.amp.GradScaler(hardware.device.type, enabled=hardware.dtype == torch.float16)
        self._parameters = [p for p in model.parameters() if p.requires_grad]

    @property
    def eval_model(self) -> nn.Module:
        """The network to evaluate: the moving average of the weights, if there is one."""
        return self.model if self.average is None else self.average.module

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Returns the cross-entropy of each row in nats, with the recipe's label smoothing; float32, shape (n,)."""
        return per_sample_loss(logits, labels, self.label_smoothing)

    def train(self, batch: Batch, weigh: Callable[[Batch, Outputs], Tensor | None]) -> tuple[Outputs, Tensor | None]:
        """Makes one step on a batch.

        Args:
            batch: Rows of this rank; it may have none if other ranks have some.
            weigh: Called with the batch and its outputs; returns the loss weights (n,), or None for all ones.

        Returns:
            The detached outputs, and the weights.
        """
        outputs, weights = self._backward(batch, weigh)
        if self._clip is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self._parameters, self._clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update(self.model, self.progress)
        return outputs, weights

    def dry_run(self, batch: Batch, *, alone: bool = False) -> None:
        """Computes the gradients of a step, then discards them: weights and BatchNorm statistics stay as they are.

        Args:
            batch: Rows of this rank.
            alone: Whether this rank does it without the others.
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
        """Adds the gradient of a batch to the parameters, part by part."""
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
        """Returns a context in which gradients are not exchanged with other ranks."""
        shared = isinstance(self._forward, nn.parallel.DistributedDataParallel)
        return self._forward.no_sync() if shared else nullcontext()  # pyright: ignore

    def _no_loss(
        self, batch: Batch, weigh: Callable[[Batch, Outputs], Tensor | None]
    ) -> tuple[Tensor, Outputs, Tensor | None]:
        """Returns a loss of 0 that depends on all parameters, for a rank without rows: it must step with the others."""
        with mode_of(self.model, "eval"), self.hardware.autocast():
            logits = self._forward(batch.images.new_zeros((1, *batch.images.shape[1:])))
        outputs = Outputs(logits[:0].detach(), logits.new_zeros(0, dtype=torch.float32))
        weigh(batch, outputs)
        return logits.float().sum() * 0.0, outputs, None


class Scorer:
    """Scores batches by forward passes without gradients, and charges them to the ledger.

    Args:
        stepper: Has the network.
        ledger: Is charged.
        flops: Called with the height and width in pixels; returns the FLOPs of one sample, or None if unknown.
    """

    def __init__(
        self, stepper: Stepper, ledger: Ledger, flops: Callable[[int], Flops | None] = lambda size: None
    ) -> None:
        self._stepper, self._ledger, self._flops = stepper, ledger, flops

    def __call__(self, batch: Batch, mode: Literal["train", "eval"] = "eval", size: int | None = None) -> Outputs:
        """Returns the logits (n, classes) and losses (n,) of a batch.

        Args:
            batch: Rows to score.
            mode: `eval` uses the running statistics of BatchNorm and does not change them. `train` applies dropout and
                updates the statistics, as the published code does.
            size: Height and width in pixels that larger images are shrunk to first; None leaves them as they are.
        """
        stepper, own = self._stepper, batch.images.shape[-1]
        flops = self._flops(min(size or own, own))
        self._ledger.charge_score(len(batch), 0 if flops is None else flops.forward)
        with self._ledger.phase("score"), torch.no_grad(), mode_of(stepper.model, mode), stepper.hardware.autocast():
            images = shrunk(batch.images, size)
            parts = [stepper.model(images[rows]) for rows in _parts(len(batch), stepper.at_once)]
            logits = parts[0] if len(parts) == 1 else torch.cat(parts)
            return Outputs(logits, stepper.losses(logits, batch.labels))


def _parts(rows: int, at_once: int | None) -> list[slice]:
    """Cuts rows into the fewest parts of at most `at_once` rows; sizes differ by at most one. Returns at least one."""
    count = 1 if at_once is None else max(1, -(-rows // at_once))
    return [slice(rows * at // count, rows * (at + 1) // count) for at in range(count)]


def _joined(parts: Sequence[tuple[Outputs, Tensor | None]]) -> tuple[Outputs, Tensor | None]:
    outputs = Outputs(*(torch.cat([getattr(part, key) for part, _ in parts]) for key in ("logits", "losses")))
    weights = [weights for _, weights in parts if weights is not None]
    return outputs, torch.cat(weights) if weights else None


def shrunk(images: Tensor, size: int | None) -> Tensor:
    """Shrinks images (n, c, h, w) to `size` x `size` pixels, each the mean of its area; None keeps them.

    Images that are not larger are kept too.
    """
    if size is None or size >= images.shape[-1]:
        return images
    return functional.interpolate(images, size=(size, size), mode="area")


def build_mixer(mixup: float, cutmix: float, classes: int) -> Mixer | None:
    """Builds torchvision's mixup and cutmix with these alphas; given both, each batch gets one of them by chance.

    Neighbouring rows of a batch are mixed; their order is random.

    Returns:
        The mixer; None if both alphas are 0.
    """
    if not (mixup or cutmix):
        return None
    from torchvision.transforms import v2

    kinds: list[Any] = []
    if mixup:
        kinds.append(v2.MixUp(alpha=mixup, num_classes=classes))
    if cutmix:
        kinds.append(v2.CutMix(alpha=cutmix, num_classes=classes))
    if len(kinds) < 2:
        return kinds[0]
    return v2.RandomChoice(kinds)


@contextmanager
def _explained(rows: int) -> Iterator[None]:
    """Explains torch's error about a batch of one row at a BatchNorm layer with one pixel, in terms of settings."""
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
    """Puts a model into `train` or `eval` mode inside the block, and back at its end."""
    training = model.training
    if training == (mode == "train"):
        yield
        return
    model.train(mode == "train")
    try:
        yield
    finally:
        model.train(training)
