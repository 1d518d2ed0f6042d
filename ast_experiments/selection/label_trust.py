"""The chance that a label is right, learned from where labels stand in the ranking of the classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ast_experiments.core import distributed
from ast_experiments.core.batch import class_indices
from ast_experiments.selection.parts import Part
from ast_experiments.selection.suspects import CUTS, LEARNED, MIN_CLASSES, first_place

CHANCELESS = 0.2
"""Estimated share of wrong labels from which on scores are worth nothing: rows are better drawn uniformly."""

LEAST = 0.01
"""Smallest chance that a label is given, so that scaled scores keep their order where every label looks wrong."""


class LabelTrust(Part):
    """The chance that a label is right, given its place in the network's ranking of the classes.

    A wrong label that is drawn at random is as often the least probable class as the second most probable one; a right
    label that is hard to learn is nearly always among the first. So the end of the ranking tells how many wrong labels
    stand at each place, w. Of n_k labels at place k, 1 - w / n_k are right. That is the posterior of a mixture of wrong
    labels, spread evenly over the places, and right ones. It falls from place to place. Counts are those of the rows
    trained in the last epoch.

    Labels of a rare class stand at the end too, because the network learns it late. So the share of wrong labels is
    estimated for each class, and the lower quartile over the classes counts: wrong labels are in all classes, rare
    classes are few of them or hold few rows. With fewer than 5 classes the end is too short to tell, and every label is
    trusted.

    The more labels are wrong, the less is gained by choosing, even among labels that are probably right; `doubt` says
    by how much. It is the estimate of an early epoch, the first in which nearly as many labels were predicted as ever
    since: later, the network knows wrong labels by heart.
    """

    def __init__(self) -> None:
        self._chances: Tensor | None = None  # by place
        self._counts: Tensor | None = None  # labels by place, labels by class, labels at the end by class
        self._estimates: list[tuple[float, float]] = []  # share of labels predicted, and of wrong ones, by epoch

    def of(self, logits: Tensor | None, labels: Tensor | None) -> Tensor | None:
        """Counts a trained batch and returns the chance of each of its labels to be right; reads nothing of the device.

        Args:
            logits: Shape (n, classes); None in a loop that gives losses only.
            labels: Class indices, shape (n,), or probabilities (n, classes), of which the most probable class counts.

        Returns:
            Chances in [0.01, 1], float32, shape (n,); None in the first epoch, with fewer than 5 classes, and where the
            outputs are not those of a classifier.
        """
        if logits is None or labels is None or logits.dim() != 2 or logits.shape[1] < MIN_CLASSES:
            return None
        classes = logits.shape[1]
        own = class_indices(labels)
        place = (logits > logits.gather(1, own[:, None])).sum(dim=1)
        counts = torch.zeros(3, classes) if self._counts is None else self._counts
        self._counts = counts = counts.to(logits.device)
        self._chances = to(self._chances, logits.device)
        at_end = (place >= first_place(CUTS[1], classes)).float()
        ones = torch.ones_like(at_end)
        where = torch.cat([place, own + classes, own + 2 * classes])
        counts.view(-1).index_add_(0, where, torch.cat([ones, ones, at_end]))
        return None if self._chances is None else self._chances[place]

    @property
    def doubt(self) -> float:
        """How little a score is worth, in [0, 1]: 0 without wrong labels, 1 from a fifth of them on."""
        if not self._estimates:
            return 0.0
        most = max(predicted for predicted, _ in self._estimates)
        wrong = next(wrong for predicted, wrong in self._estimates if predicted >= LEARNED * most)
        return min(1.0, wrong / CHANCELESS)

    def commit(self, epoch: int) -> None:
        """Learns from the counts of the epoch, of all ranks. Reads the device once."""
        del epoch
        counts, self._counts = self._counts, None
        gathered = distributed.broadcast_object(distributed.gather_objects(to(counts, "cpu")))
        found = [each for each in gathered if each is not None]
        if found:
            places, labels, at_end = torch.stack(found).sum(dim=0)
            wrong = wrong_share(labels, at_end)
            self._chances = chances(places, wrong)
            self._estimates.append((float(places[0] / places.sum()), wrong))

    def state_dict(self) -> dict[str, Any]:
        """Returns what the epochs told, and the counts of this rank since then."""
        return {
            "chances": to(self._chances, "cpu"),
            "counts": None if self._counts is None else self._counts.cpu().clone(),
            "estimates": list(self._estimates),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self._chances, self._counts, self._estimates = state["chances"], state["counts"], list(state["estimates"])


def to(tensor: Tensor | None, device: torch.device | str) -> Tensor | None:
    """Returns a tensor on a device; None stays None."""
    return None if tensor is None else tensor.to(device)


def wrong_share(labels: Tensor, at_end: Tensor) -> float:
    """Estimates the share of wrong labels: the lower quartile over the classes.

    Args:
        labels: Labels of each class, shape (classes,).
        at_end: Those of them at the end of the ranking, shape (classes,).
    """
    classes, present = len(labels), labels > 0
    share = at_end[present] / labels[present] * (classes - 1) / (classes - first_place(CUTS[1], classes))
    return min(1.0, float(share.quantile(0.25)))


def chances(places: Tensor, wrong: float) -> Tensor:
    """Returns the chance that a label at each place of the ranking is right, shape (classes,).

    Args:
        places: Labels at each place, shape (classes,).
        wrong: Share of all labels that is wrong.
    """
    chance = 1 - wrong * places.sum() / (len(places) - 1) / places.clamp(min=1)
    chance[0] = 1  # the label is predicted
    return chance.clamp(LEAST, 1).cummin(dim=0).values
