"""What the selection tests share: contexts, batches, and runs without a network."""

import numpy as np
import torch

from ast_experiments.core.batch import Batch, Outputs
from ast_experiments.selection.context import Context
from ast_experiments.selection.methods.ast_fresh import ASTFresh
from ast_experiments.selection.methods.ast_masked import ASTMasked
from ast_experiments.selection.selector import Selector


def context(samples=1000, batch_size=64, epochs=60, seed=0):
    """A context whose network parts must not be touched."""

    def refuse(*args, **kwargs):
        raise AssertionError("not for selection tests")

    return Context(
        samples=samples,
        batch_size=batch_size,
        epochs=epochs,
        seed=seed,
        device=torch.device("cpu"),
        fetch=refuse,
        auxiliary_model=refuse,
    )


def prepared(method, **settings):
    return Selector(method, context(**settings))


def on_fresh(execution, controller, significance, **settings):
    """The method that gates every batch, in two passes (`gather`) or in one (`masked`)."""
    if execution == "masked":
        return ASTMasked(controller, significance)
    return ASTFresh(controller, significance, **settings)


def batch_of(ids):
    ids = torch.as_tensor(np.asarray(ids, dtype=np.int64))
    n = len(ids)
    return Batch(ids, torch.zeros(n, 1, 1, 1), torch.zeros(n, dtype=torch.int64))


def outputs_of(losses):
    losses = torch.as_tensor(np.asarray(losses, dtype=np.float32))
    return Outputs(torch.zeros(len(losses), 10), losses)


def chunks(plan):
    """The ids of each batch that a plan loads."""
    return [plan.ids[i * plan.load_batch : (i + 1) * plan.load_batch] for i in range(plan.batches)]


def no_score(batch, mode="eval"):
    raise AssertionError("no scoring pass was expected")


class World:
    """Synthetic losses: every sample has its difficulty; training lowers its loss, all drift a little."""

    def __init__(self, samples, seed=0):
        rng = np.random.default_rng(seed)
        self.difficulty = rng.lognormal(0.0, 1.0, samples)
        self.visits = np.zeros(samples, dtype=np.int64)
        self.seed = seed

    def losses(self, ids, epoch):
        noise = np.random.default_rng((self.seed, epoch)).lognormal(0.0, 0.2, len(self.visits))
        return (self.difficulty * 0.98**self.visits * noise)[ids]

    def train(self, selector, plan, epoch, batches=None):
        """Observe the plan's batches, or those of the slice `batches`."""
        for ids in chunks(plan)[batches or slice(None)]:
            selector.observe(batch_of(ids), outputs_of(self.losses(ids, epoch)))
            self.visits[ids] += 1


def run(selector, world, targets, start=0):
    """Plans of consecutive epochs, each trained and committed."""
    plans = []
    for epoch, target in enumerate(targets, start):
        plan = selector.plan(epoch, target)
        world.train(selector, plan, epoch)
        selector.end_epoch(no_score)
        plans.append(plan)
    return plans
