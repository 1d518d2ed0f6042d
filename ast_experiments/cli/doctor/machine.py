"""Checks of the machine: the device, the free disk space, and the duration of a run."""

from __future__ import annotations

import dataclasses
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from ast_experiments.cli.doctor.data import Finding
from ast_experiments.config.schema import Config
from ast_experiments.core.errors import DataError, UserError
from ast_experiments.core.text import rough_duration

PROBE_S = 6.0
"""Seconds for which training, and then validation, are timed; at least one batch each."""
_SMALL_BATCH = 32
_LOGS = 200_000_000
_COPIES = 4
_FILES = 2


def device_findings() -> Iterator[Finding]:
    """Compares the GPUs of the machine with those that torch was built for."""
    import torch

    this, driver = f"torch {torch.__version__}", shutil.which("nvidia-smi") is not None
    if torch.cuda.is_available():
        built = torch.cuda.get_arch_list()
        for index in range(torch.cuda.device_count()):
            capability = torch.cuda.get_device_capability(index)
            told = f"{torch.cuda.get_device_name(index)} (sm_{capability[0]}{capability[1]}), {this}"
            if supports(capability, built):
                yield Finding("ok", "device", told)
            else:
                yield Finding("wrong", "device", f"{told}: {advice(capability, built)}")
    elif not driver:
        yield Finding("ok", "device", f"{'Apple GPU' if torch.backends.mps.is_available() else 'no GPU'}, {this}")
    elif torch.version.cuda is None:
        fix = "install a CUDA build of torch, or use the one that the platform brings"
        yield Finding("wrong", "device", f"there is an NVIDIA driver, but {this} is built without CUDA; {fix}")
    else:
        cuda = torch.version.cuda
        fix = f"type nvidia-smi: if it shows less than CUDA {cuda}, update the driver or install a torch for that CUDA"
        yield Finding("wrong", "device", f"there is an NVIDIA driver, but {this} finds no GPU; {fix}")


def supports(capability: tuple[int, int], built: Sequence[str]) -> bool:
    """Returns whether a build of torch runs on a GPU.

    Args:
        capability: Compute capability of the GPU, e.g. (8, 6).
        built: Architectures of the build as torch names them: `sm_80` is machine code, which also runs on later minor
            versions; `sm_90a` runs on that version only; `compute_90` is compiled at run time on any later GPU.
    """
    for kind, major, minor, only in (_parsed(name) for name in built):
        if kind == "compute" and not only and (major, minor) <= capability:
            return True
        if kind == "sm" and major == capability[0] and (minor == capability[1] if only else minor <= capability[1]):
            return True
    return False


def advice(capability: tuple[int, int], built: Sequence[str]) -> str:
    """Returns what to install if torch has no code for a GPU."""
    oldest = min(((major, minor) for _, major, minor, _ in map(_parsed, built)), default=(0, 0))
    there = f"this torch is built for {', '.join(built) or 'no GPU'}"
    if capability < oldest:
        return (
            f"{there}, and the GPU is older; use the torch that the platform brings, or install one for CUDA 12.6 or "
            "earlier (its version ends in +cu126)"
        )
    return f"{there}, and the GPU is newer; install a torch for a later CUDA (its version ends in +cu128 or higher)"


def disk_findings(config: Config, here: Path) -> Iterator[Finding]:
    """Compares the free disk space with what the run will write.

    Args:
        config: Checked.
        here: Directory that will contain `outputs/`.
    """
    by_disk: dict[int, list[tuple[Path, int, str]]] = {}
    for folder, size, what in ((here, _checkpoint_bytes(config), "checkpoints and logs"), *_copies(config)):
        there = next(path for path in (folder, *folder.parents) if path.exists())
        by_disk.setdefault(there.stat().st_dev, []).append((there, size, what))
    for wants in by_disk.values():
        free, needed = shutil.disk_usage(wants[0][0]).free, sum(size for _, size, _ in wants)
        parts = ", ".join(f"{size / 1e9:.2f} GB for {what}" for _, size, what in wants)
        text = f"{free / 1e9:.2f} GB free at {wants[0][0]}; the run needs {parts}"
        if free < needed:
            yield Finding("wrong", "disk", f"{text}: free some, or use another disk (hydra.run.dir, dataset.cache)")
        else:
            yield Finding("ok", "disk", text)


def time_findings(config: Config) -> Iterator[Finding]:
    """Times some training and validation, and estimates the duration of an epoch and of the whole run.

    Raises:
        DataError: If an image cannot be read.
    """
    from ast_experiments.runs.build import build_run
    from ast_experiments.training.hardware import check_processes

    with tempfile.TemporaryDirectory() as scratch:
        try:
            run = build_run(config, Path(scratch), lambda facts: None)  # pyright: ignore[reportArgumentType]
            train_s, val_s, batches = _probe(run, config.recipe.batch_size)
        except DataError:
            raise
        except UserError as error:
            yield Finding("wrong", "run", str(error))
            return
    samples, checked, epochs = len(run.train), run.validation.samples, run.epochs  # pyright: ignore[reportArgumentType]
    # Masked rows are trained all the same.
    setpoint = None if run.selector.method.trains_every_row else run.target.setpoint
    targets = [1.0 if setpoint is None else setpoint.target(epoch, epochs) for epoch in range(epochs)]
    validations = -(-epochs // run.eval_every)
    scored = sum(run.selector.scored_share(target) for target in targets)
    first = rough_duration(max(1.0, samples * train_s + checked * val_s))
    whole = rough_duration(samples * (sum(targets) * train_s + scored * val_s) + validations * checked * val_s)
    rows = f"{1 / train_s:,.0f} rows a second in training and {1 / val_s:,.0f} in validation"
    over = "1 batch" if batches == 1 else f"{batches} batches"
    yield Finding("note", "time", f"{rows}, timed over {over}")
    runs = f"{first} for one dense epoch, {whole} for all {epochs} epochs at a mean rate of "
    count = check_processes(config.hardware.device, config.hardware.processes)
    alone = f", in one of its {count} processes" if count > 1 else ""
    yield Finding("note", "time", f"an estimate from these rates: {runs}{sum(targets) / epochs:.2f}{alone}")


def _probe(run: Any, batch_size: int) -> tuple[float, float, int]:
    """Returns the seconds per row in training and in validation, loading included, and the number of timed batches."""
    import numpy as np
    import torch

    from ast_experiments.data.loaders.base import PlannedBatches

    gpu = run.stepper.hardware.device.type == "cuda"
    warm_up = 3 if gpu else 1

    def timed(loader: Any, most: int, work: Callable[[Any], None]) -> tuple[float, int]:
        size = most if gpu else min(most, _SMALL_BATCH)
        # Small sets are repeated, so that there is something to time after the warm-up.
        ids = np.resize(np.random.default_rng(0).permutation(len(loader)), max(len(loader), 2 * warm_up * size))
        batches = loader.batches(PlannedBatches(ids, size), 0)
        for batch in islice(batches, warm_up):
            work(batch)
        count, begin = 0, time.perf_counter()
        for batch in batches:
            work(batch)
            if gpu:
                torch.cuda.synchronize()
            count += 1
            if time.perf_counter() - begin > PROBE_S:
                break
        return (time.perf_counter() - begin) / (count * size), count

    def score(batch: Any) -> None:
        with torch.no_grad(), run.stepper.hardware.autocast():
            run.stepper.model(batch.images)

    run.stepper.model.train()
    train_s, batches = timed(run.train, batch_size, run.stepper.dry_run)
    run.stepper.model.eval()
    val_s, _ = timed(run.validation.loader, run.validation.batch_size, score)
    return train_s, val_s, batches


def _checkpoint_bytes(config: Config) -> int:
    """Returns the size of checkpoints and logs: weights, two moments and an average, in an old and a new file."""
    import torch

    from ast_experiments.models.build import make_model

    blank = {key: value for key, value in (("pretrained", False), ("checkpoint", None)) if hasattr(config.model, key)}
    size = getattr(config.dataset, "size", None) or (224 if hasattr(config.dataset, "size") else 32)
    try:
        with torch.device("meta"):
            model = make_model(dataclasses.replace(config.model, **blank), 1000, 3, size)
    except UserError:
        return _LOGS  # reported with the settings
    return sum(p.numel() * p.element_size() for p in model.parameters()) * _COPIES * _FILES + _LOGS


def _copies(config: Config) -> Iterator[tuple[Path, int, str]]:
    """Yields the copies of parquet files that the run still has to make."""
    from ast_experiments.data.encoded.cache import ParquetRows, packed_bytes, packed_path
    from ast_experiments.data.encoded.classes import ClassChoice
    from ast_experiments.data.encoded.load import SETS, find

    what = SETS.get(config.dataset.name)
    if what is None:
        return
    try:
        choice = ClassChoice(what.title, what.lists, getattr(config.dataset, "class_list", None), strict=False)
        layout = find(what, config.dataset.root, choice)
    except DataError:
        return  # reported with the data
    for split, listing in layout.splits.items():
        store = listing.store
        if isinstance(store, ParquetRows):
            path = packed_path(store, Path(config.dataset.cache))
            if not path.is_file():
                yield path.parent, packed_bytes(store), f"a copy of the {split} images"


def _parsed(arch: str) -> tuple[str, int, int, str]:
    match = re.fullmatch(r"(sm|compute)_(\d+)(\d)([a-z]?)", arch)
    return (match[1], int(match[2]), int(match[3]), match[4]) if match else ("", 0, 0, "")
