"""The arithmetic of the methods, as pure functions on NumPy arrays, for people who want only that.

They take the losses of the samples to choose from, in an order of your own (random, unless you have a reason), and
return a mask of the same shape. NaN stands for a sample without a loss. The methods of `select` call them too, and add
what a run needs: full batches with the leftover rows of the epoch before, exact rates over epochs, resuming and ranks.

Example:
    >>> rng = np.random.default_rng(0)
    >>> mask = choose_by_loss(losses, count=20_000, rng=rng, uniform=6_000)
"""

from __future__ import annotations

from ast_experiments.selection.methods.curriculum import easiest
from ast_experiments.selection.methods.infobatch import drop_easy
from ast_experiments.selection.methods.kakurenbo import hide_confident
from ast_experiments.selection.methods.orderdp import hardest
from ast_experiments.selection.methods.selective_backprop import keep_probabilities
from ast_experiments.selection.methods.seta import difficulty_window
from ast_experiments.selection.sampling import add_uniform, choose_by_loss, choose_with_weights

__all__ = [
    "add_uniform",
    "choose_by_loss",
    "choose_with_weights",
    "difficulty_window",
    "drop_easy",
    "easiest",
    "hardest",
    "hide_confident",
    "keep_probabilities",
]
