"""What the tests of methods that plan before loading share: the methods, and runs whose losses are made up."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import torch
from selection_tools import chunks, context

from ast_experiments.config.plugins import defaults_of
from ast_experiments.config.schema import CHOICES
from ast_experiments.core.batch import Batch, Outputs
from ast_experiments.selection.build import build_method
from ast_experiments.selection.find import find
from ast_experiments.selection.method import Method
from ast_experiments.selection.selector import Selector

CLASSES = 10
METHODS = [
    name
    for name in CHOICES["method"]
    if find("method", name).select is Method.select and find("method", name).weigh is Method.weigh
]
"""Choices of `method` that plan before loading: they do not look at loaded batches."""
RATED = [name for name in METHODS if find("method", name).rate is not None]
"""Those of them with a target rate."""


def built(name, **settings):
    """The method with its defaults, but for `settings`, on the default controller and significance."""
    method = SimpleNamespace(**defaults_of("method", name) | settings)
    parts = ("controller", "pi"), ("significance", "loss")
    return build_method(method, *(SimpleNamespace(**defaults_of(*part)) for part in parts))


def target_of(name):
    """A target rate to test a method at; 1, as in a run, where the method sets its own rate."""
    return 0.4 if name in RATED else 1.0


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
