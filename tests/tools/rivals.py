"""What the tests of methods that choose before loading share: the methods, and runs whose losses are made up."""

import dataclasses

import numpy as np
import torch
from selection_tools import chunks, context

from ast_experiments.core.batch import Batch, Outputs
from ast_experiments.selection.methods.curriculum import Curriculum
from ast_experiments.selection.methods.infobatch import InfoBatch
from ast_experiments.selection.methods.kakurenbo import Kakurenbo
from ast_experiments.selection.methods.orderdp import OrderDP
from ast_experiments.selection.methods.rs2 import RS2
from ast_experiments.selection.methods.selective_backprop import SelectiveBackprop
from ast_experiments.selection.methods.seta import SeTa
from ast_experiments.selection.selector import Selector

CLASSES = 10
METHODS = {
    "rs2": RS2,
    "curriculum": lambda: Curriculum(start=0.2, ramp=0.5),
    "infobatch": lambda: InfoBatch(drop=0.5, full_after=0.875),
    "selective_backprop": lambda: SelectiveBackprop(fresh_every=3),
    "orderdp": lambda: OrderDP(draw=0.75, keep=0.85),
    "seta": lambda: SeTa(drop=0.1, groups=5, window=0.9, random_after=0.875),
    "kakurenbo": lambda: Kakurenbo(
        hide=0.3, factors=[1.0, 1.0, 0.8, 0.6, 0.4], decay_at=[0.3, 0.6, 0.8], confidence=0.7
    ),
}


def falling(samples, seed=0):
    """Losses that are different for every sample and fall with every epoch, at a rate of its own."""
    rng = np.random.default_rng(seed)
    hard, speed = rng.lognormal(0.0, 1.0, samples), rng.uniform(0.0, 0.2, samples)
    return lambda ids, epoch: hard[ids] * np.exp(-speed[ids] * epoch)


class Lab:
    """Runs a selector on made-up losses; all samples have label 0, which they are predicted to have unless `wrong`.

    The confidence is exp(-loss). `scored` holds the ids of the scoring passes of each closed epoch.
    """

    def __init__(self, method, losses, *, samples, batch_size=32, epochs=40, seed=0, warmup=0.0, wrong=()):
        self.losses = losses
        self.wrong = np.asarray(wrong, dtype=np.int64)
        self.epoch, self.scored, self.last = 0, [], {}
        self.labels = torch.zeros(samples, dtype=torch.int64)
        c = context(samples=samples, batch_size=batch_size, epochs=epochs, seed=seed)
        self.context = dataclasses.replace(c, fetch=self._fetch, warmup_epochs=warmup)
        self.selector = Selector(method, self.context)

    def _fetch(self, ids, epoch):
        assert epoch == self.epoch
        return Batch(ids, torch.zeros(len(ids), 1, 1, 1), self.labels[ids])

    def _outputs(self, ids):
        ids = ids.numpy()
        losses = self.losses(ids, self.epoch)
        self.last.update(zip(ids.tolist(), np.float32(losses).tolist(), strict=True))
        p = np.clip(np.exp(-losses), 0.11, 0.999)
        logits = np.zeros((len(ids), CLASSES))
        logits[np.arange(len(ids)), np.isin(ids, self.wrong).astype(int)] = np.log(p * (CLASSES - 1) / (1 - p))
        return Outputs(torch.from_numpy(logits).float(), torch.from_numpy(losses).float())

    def _score(self, batch, mode="eval", size=None):
        assert (mode, size) == ("eval", None)
        self.scored[-1].extend(batch.ids.tolist())
        return self._outputs(batch.ids)

    def train(self, plan, batches=slice(None)):
        """Train batches of a plan."""
        for ids in chunks(plan)[batches]:
            batch = self._fetch(torch.from_numpy(ids), self.epoch)
            self.selector.observe(batch, self._outputs(batch.ids))

    def close(self):
        """End the epoch."""
        self.scored.append([])
        self.selector.end_epoch(self._score)
        self.epoch += 1

    def run(self, epochs, target=1.0):
        """Plans of the next epochs, each trained and closed."""
        plans = []
        for _ in range(epochs):
            plans.append(self.selector.plan(self.epoch, target))
            self.train(plans[-1])
            self.close()
        return plans
