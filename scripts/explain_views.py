"""Why do test-time views help one network more than another? Measures finished runs, without training.

    python scripts/explain_views.py outputs/RUN ... --save docs/measurements/views_explained.json

For each run directory: test accuracy of the plain image, of its mirror, and of six views; how much the logits of one
image differ between its views (variance over the views, mean over images and classes); how often image and mirror are
predicted differently; and the accuracies after the statistics of BatchNorm were estimated anew, from 10,000 training
images that are drawn uniformly. The data must fit into memory.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ast_experiments.core.files import read_json
from ast_experiments.data import build as data
from ast_experiments.data.loaders.base import Loader
from ast_experiments.runs.build import build_dataset
from ast_experiments.runs.networks import build_model
from ast_experiments.runs.resume import saved_config
from ast_experiments.training.build import hardware_of
from ast_experiments.training.views import mean_logits

ROWS, BATCH = 10_000, 500
"""Training images for the statistics of BatchNorm, and images in a batch."""


class Views:
    """Predicts, and keeps the logits of each view of a batch.

    Args:
        model: In eval mode.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model, self.seen = model, list[Tensor]()

    def __call__(self, images: Tensor) -> Tensor:
        """Returns the logits of one view."""
        self.seen.append(self._model(images).float())
        return self.seen[-1]


@torch.no_grad()
def measure(model: nn.Module, val: Loader, rows: int) -> dict[str, float]:
    """Returns accuracies in percent, and how the views of an image differ."""
    model.eval()
    sums: defaultdict[str, float] = defaultdict(float)
    for first in range(0, rows, BATCH):
        batch = val.fetch(torch.arange(first, min(first + BATCH, rows)), 0)
        predict = Views(model)
        plain = predict(batch.images)
        views = mean_logits(predict, batch.images, plain)
        mirror = predict.seen[1]
        for name, logits in (("plain", plain), ("mirror", mirror), ("views", views)):
            sums[name] += float((logits.argmax(1) == batch.labels).sum())
        sums["disagree"] += float((plain.argmax(1) != mirror.argmax(1)).sum())
        sums["variance"] += float(torch.stack(predict.seen).var(0).mean(1).sum())
    scale = {name: 1.0 if name == "variance" else 100.0 for name in sums}
    return {name: round(scale[name] * value / rows, 4) for name, value in sums.items()}


def with_uniform_statistics(model: nn.Module, train: Loader, epoch: int) -> nn.Module:
    """Returns a copy whose BatchNorm statistics are means over uniformly drawn training images."""
    model = copy.deepcopy(model).train()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.reset_running_stats()
            module.momentum = None  # the mean over all batches
    drawn = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:ROWS]
    with torch.no_grad():
        for ids in drawn.split(BATCH):
            model(train.fetch(ids, epoch, np.full(len(ids), epoch, dtype=np.int32)).images)
    return model


def explain(folder: Path) -> dict[str, Any]:
    """Returns the figures of one run."""
    result, config = read_json(folder / "result.json") or {}, saved_config(folder, [])
    dataset, hardware = build_dataset(config), hardware_of(config.hardware)
    train, val, _ = data.build_loaders(
        dataset, None, config.dataset, device=hardware.device, on_device=True, workers=0, seed=config.seed
    )
    model = build_model(config, dataset, hardware)
    model.load_state_dict(torch.load(folder / "checkpoints" / "last.pt", weights_only=False)["model"])
    again = with_uniform_statistics(model, train, config.recipe.epochs)
    rows = len(dataset.val)
    return {
        "run": folder.name,
        "method": result["method"],
        "seed": config.seed,
        **measure(model, val, rows),
        "uniform_statistics": measure(again, val, rows),
    }


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    found = []
    for folder in args.folders:
        found.append(explain(folder))
        print(json.dumps(found[-1]), flush=True)
        if args.save:
            content = {"title": "What test-time views average out, by run", "runs": found}
            args.save.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
