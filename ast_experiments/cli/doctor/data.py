"""Checks of the data."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from ast_experiments.cli.doctor.sizes import describe_enlarged
from ast_experiments.config.schema import Config
from ast_experiments.core.errors import DataError

if TYPE_CHECKING:
    from ast_experiments.data.dataset import Dataset


class Finding(NamedTuple):
    """One line of the report.

    Attributes:
        level: "wrong" stops the run.
        subject: What was checked.
        text: The result.
    """

    level: Literal["ok", "note", "wrong"]
    subject: str
    text: str


def data_findings(
    config: Config, quick: bool, keep: Callable[[Dataset], object] = lambda dataset: None
) -> Iterator[Finding]:
    """Checks the data set of a config.

    Args:
        config: Checked.
        quick: Whether to skip reading the images.
        keep: Called with the data set if it had to be loaded.
    """
    from ast_experiments.data.encoded.load import SETS

    try:
        if config.dataset.name in SETS:
            yield from _photo_findings(config, quick)
        else:
            yield from _image_findings(config, keep)
    except DataError as error:
        yield Finding("wrong", "data", str(error))


def _photo_findings(config: Config, quick: bool) -> Iterator[Finding]:
    from ast_experiments.data.encoded import checks
    from ast_experiments.data.encoded.classes import ClassChoice
    from ast_experiments.data.encoded.image_files import describe_left_out
    from ast_experiments.data.encoded.load import SETS, find

    settings: Any = config.dataset
    what = SETS[settings.name]
    choice = ClassChoice(what.title, what.lists, getattr(settings, "class_list", None), strict=False)
    layout = find(what, settings.root, choice)
    counts = {split: len(listing.labels) for split, listing in layout.splits.items()}
    shown = ", ".join(f"{count:,} {split} images" for split, count in counts.items())
    yield Finding("ok", "layout", f"{layout.kind}: {len(layout.classes)} classes, {shown}")

    for text in describe_left_out(layout.left_out):
        yield Finding("note", "left out", text)
    for absent in choice.missing(layout.found):
        yield Finding("wrong", "missing class", f"{absent}: in the class list, but not in the data")
    for text in checks.missing_classes(layout):
        yield Finding("wrong", "missing class", text)
    name = choice.name_of(layout.classes)
    if what.lists:
        yield Finding("ok" if name else "note", "classes", choice.described(layout.classes))
    published = what.lists.get(name or "")
    if published and published != tuple(counts.values()):
        yield Finding("note", "counts", "published are {:,} train and {:,} val images".format(*published))
    for split, listing in layout.splits.items():
        by_class = np.bincount(listing.labels, minlength=len(layout.classes))
        yield Finding("ok", "counts", f"{split}: {_range(by_class)} images a class")

    for text in checks.repeated_names(layout):
        yield Finding("wrong", "same file twice", text)
    for text in checks.mislabelled(layout):
        yield Finding("wrong", "label clash", text)
    if quick:
        return
    with_progress = _Progress(sum(counts.values()))
    scans = {split: checks.scan(listing, with_progress) for split, listing in layout.splits.items()}
    with_progress.close()
    yield from _content_findings(layout, scans)
    sides = np.concatenate([scan.sides for scan in scans.values()])
    if len(sides) and (text := describe_enlarged(np.median(sides), settings.size, config.model, len(layout.classes))):
        yield Finding("note", "images", text)


def _content_findings(layout: Any, scans: Any) -> Iterator[Finding]:
    from ast_experiments.data.encoded import checks
    from ast_experiments.data.encoded.decode import IGNORED

    wrong = 0
    found = (
        ("unreadable image", [text for scan in scans.values() for text in scan.broken.values()]),
        ("label clash", checks.conflicting_labels(layout, scans)),
        ("in both splits", checks.in_both_splits(layout, scans)),
    )
    for subject, texts in found:
        wrong += len(texts)
        yield from (Finding("wrong", subject, text) for text in texts)
    modes: Counter[str] = sum((scan.modes for scan in scans.values()), Counter())
    others = ", ".join(f"{count:,} {mode}" for mode, count in modes.most_common() if mode not in {"RGB", "unreadable"})
    if others:
        yield Finding("ok", "images", f"colour modes: {others}; read as RGB")
    if turned := sum(scan.turned for scan in scans.values()):
        yield Finding("note", "images", f"{turned:,} have {IGNORED}")
    if not wrong:
        yield Finding("ok", "images", f"all {modes.total():,} can be decoded; none is in both splits or two classes")


def _image_findings(config: Config, keep: Callable[[Dataset], object]) -> Iterator[Finding]:
    """Checks small images, which loading has already decoded."""
    from ast_experiments.data.dataset import Images
    from ast_experiments.runs.build import build_dataset

    dataset = build_dataset(config)
    keep(dataset)
    sizes = f"{len(dataset.train):,} train and {len(dataset.val):,} val images"
    yield Finding("ok", "layout", f"{dataset.source}: {len(dataset.classes)} classes, {sizes}")
    for split, samples in (("train", dataset.train), ("val", dataset.val)):
        by_class = np.bincount(samples.labels, minlength=len(dataset.classes))
        for label in np.flatnonzero(by_class == 0):
            yield Finding("wrong", "missing class", f"{split} has no images of {dataset.classes[label]}")
        yield Finding("ok", "counts", f"{split}: {_range(by_class)} images a class")
    train, val = (
        {image.tobytes() for image in split.images} if isinstance(split, Images) else set()
        for split in (dataset.train, dataset.val)
    )
    if same := len(train & val):
        yield Finding("note", "in both splits", f"{same} different images are in train and in val")


class _Progress:
    """Shows on the terminal how many images have been read."""

    def __init__(self, total: int) -> None:
        self._total, self._before, self._done = total, 0, 0

    def __call__(self, done: int) -> None:
        if done < self._done:  # the next split has begun
            self._before += self._done
        self._done = done
        if sys.stderr.isatty():
            print(f"\r{self._before + done:,} of {self._total:,} images read", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Removes the line."""
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _range(counts: np.ndarray) -> str:
    low, high = counts.min(), counts.max()
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
