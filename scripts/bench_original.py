"""Compare AST's own package with its plain loop and with stale AST: one network, the same CIFAR-10 rows, one process.

    python scripts/bench_original.py --rows 10000 --epochs 3 --seeds 2

It installs adaptive-sparse-training 1.0.1, apart from this environment, into a temporary folder. All three arms
train SimpleCNN with Adam at 1e-3, the package's default, in float32 on the same rows; the third is this project's
`select("ast")` in the plain loop. Training is timed, evaluation is not, and the arms take turns.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from ast_experiments import select
from ast_experiments.config.compose import load_config
from ast_experiments.data.build import build_dataset
from ast_experiments.models.simple_cnn import SimpleCNN

PACKAGE = "adaptive-sparse-training==1.0.1"
BATCH = 128
LR = 1e-3


def install(folder: Path) -> None:
    """Installs the original package without its dependencies, which this environment has."""
    pip = [sys.executable, "-m", "pip"]
    if subprocess.run([*pip, "--version"], check=False, capture_output=True).returncode:
        pip = ["uv", "pip"]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--target", str(folder), PACKAGE], check=True)
    sys.path.insert(0, str(folder))


def cifar10(rows: int, root: str | None) -> tuple[TensorDataset, TensorDataset]:
    """Returns the first training rows and the test set, normalised."""
    overrides = ["dataset=cifar10", f"dataset.train_rows={rows}", *([f"dataset.root={root}"] if root else [])]
    dataset = build_dataset(load_config(overrides).dataset)
    mean, std = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2470, 0.2435, 0.2616])

    def tensors(split: Any) -> TensorDataset:
        images = torch.from_numpy(split.images).float().div_(255).sub_(mean).div_(std).permute(0, 3, 1, 2).contiguous()
        return TensorDataset(images, torch.from_numpy(split.labels).long())

    return tensors(dataset.train), tensors(dataset.val)


def network(seed: int) -> nn.Module:
    """Returns SimpleCNN."""
    torch.manual_seed(seed)
    return SimpleCNN(10, 3, 32)


def accuracy(model: nn.Module, test_set: TensorDataset) -> float:
    """Returns the test accuracy in percent."""
    model.eval()
    images, labels = test_set.tensors
    with torch.no_grad():
        right = [(model(x).argmax(1) == y).sum() for x, y in zip(images.split(1000), labels.split(1000), strict=True)]
    return 100 * float(sum(right)) / len(labels)


def plain(train_set: TensorDataset, epochs: int, seed: int, rate: float) -> tuple[nn.Module, dict[str, float]]:
    """Trains on every row."""
    del rate
    model = network(seed).train()
    optimizer = torch.optim.Adam(model.parameters(), LR)
    loader = DataLoader(train_set, BATCH, shuffle=True)
    begin = time.perf_counter()
    for _ in range(epochs):
        for images, labels in loader:
            _step(optimizer, cross_entropy(model(images), labels))
    return model, {"seconds": time.perf_counter() - begin, "rate": 1.0}


def original(train_set: TensorDataset, epochs: int, seed: int, rate: float) -> tuple[nn.Module, dict[str, float]]:
    """Trains with the original package's trainer and its defaults."""
    from adaptive_sparse_training import AdaptiveSparseTrainer, ASTConfig  # pyright: ignore[reportMissingImports]

    config = ASTConfig(target_activation_rate=rate, device="cpu", use_amp=False)
    model = network(seed)
    optimizer = torch.optim.Adam(model.parameters(), LR)
    trainer = AdaptiveSparseTrainer(model, DataLoader(train_set, BATCH, shuffle=True), [], config, optimizer)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        begin = time.perf_counter()
        found = [trainer.train_epoch(epoch) for epoch in range(1, epochs + 1)]
        seconds = time.perf_counter() - begin
    rates = fmean(each["activation_rate"] for each in found)
    return model, {"seconds": seconds, "rate": rates, "claimed_saving": found[-1]["energy_savings"] / 100}


def stale(train_set: TensorDataset, epochs: int, seed: int, rate: float) -> tuple[nn.Module, dict[str, float]]:
    """Trains with this project's selection in the plain loop."""
    model = network(seed).train()
    optimizer = torch.optim.Adam(model.parameters(), LR)
    selection = select("ast", dataset_size=len(train_set), batch_size=BATCH, epochs=epochs, rate=rate, seed=seed)
    loader = DataLoader(selection.wrap(train_set), batch_sampler=selection.batches)
    rows, begin = 0, time.perf_counter()
    for _ in selection.epochs():
        for ids, (images, labels) in loader:
            _step(optimizer, selection.loss(ids, cross_entropy(model(images), labels, reduction="none")))
            rows += len(ids)
    return model, {"seconds": time.perf_counter() - begin, "rate": rows / (epochs * len(train_set))}


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


ARMS: dict[str, Callable[..., tuple[nn.Module, dict[str, float]]]] = {
    "plain loop": plain,
    "original package": original,
    "stale AST": stale,
}


def run(args: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """Runs every arm with every seed, in turns."""
    train_set, test_set = cifar10(args.rows, args.root)
    plain(TensorDataset(*(t[:1024] for t in train_set.tensors)), 1, 0, args.rate)  # so that no arm pays the start-up
    found: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    for seed in range(args.seeds):
        for arm, train in list(ARMS.items())[:: -1 if seed % 2 else 1]:
            model, figures = train(train_set, args.epochs, seed, args.rate)
            found[arm].append(figures | {"accuracy": accuracy(model, test_set), "seed": seed})
            print(f"{arm}, seed {seed}: {found[arm][-1]['accuracy']:.2f} %", file=sys.stderr)
    return found


def table(found: dict[str, list[dict[str, float]]]) -> str:
    """Returns a Markdown table."""
    base = fmean(each["seconds"] for each in found["plain loop"])
    lines = ["| arm | accuracy, % | rate | seconds / plain loop | saving it claims |", "|---|---|---|---|---|"]
    for arm, runs in found.items():
        accuracies = ", ".join(f"{each['accuracy']:.1f}" for each in runs)
        claimed = [each["claimed_saving"] for each in runs if "claimed_saving" in each]
        said = f"{100 * fmean(claimed):.0f} %" if claimed else ""
        rate, seconds = fmean(each["rate"] for each in runs), fmean(each["seconds"] for each in runs)
        lines.append(f"| {arm} | {accuracies} | {rate:.2f} | {seconds / base:.2f} | {said} |")
    return "\n".join(lines)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000, help="training rows (default: 10000)")
    parser.add_argument("--epochs", type=int, default=3, help="epochs of each arm (default: 3)")
    parser.add_argument("--seeds", type=int, default=2, help="number of seeds (default: 2)")
    parser.add_argument("--rate", type=float, default=0.4, help="target activation rate (default: 0.4)")
    parser.add_argument("--threads", type=int, default=1, help="threads (default: 1)")
    parser.add_argument("--root", help="folder of CIFAR-10 (default: as ast-train looks for it)")
    parser.add_argument("--save", type=Path, metavar="FILE", help="also write the figures as JSON")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        install(Path(folder))
        found = run(args)
    print(table(found))
    if args.save:
        settings = {key: value for key, value in vars(args).items() if key not in ("save", "root")}
        content = {"package": PACKAGE, "torch": torch.__version__, **settings, "runs": found}
        args.save.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
