"""Names of ImageNet's classes for people, in place of their synsets."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

SYNSET = re.compile(r"n\d{8}")
"""A synset of WordNet, as ImageNet names its classes."""

LEMMAS = Path("data", "_info", "imagenet_synset_to_lemma.txt")
"""File of timm with a synset and its names in each line."""


def readable(classes: Sequence[str]) -> list[str]:
    """Replaces synsets by the first of their names, "tench" for "n01440764"; leaves other classes as they are.

    Two classes of the same name keep their synset behind it, "crane (n02012849)".
    """
    if not classes or not all(SYNSET.fullmatch(each) for each in classes):
        return list(classes)
    known = _lemmas()
    names = [known.get(each, each) for each in classes]
    often = Counter(names)
    return [f"{name} ({each})" if often[name] > 1 else name for name, each in zip(names, classes, strict=True)]


def _lemmas() -> dict[str, str]:
    """Reads timm's file, without the seconds that an import of timm takes; empty if this timm has none."""
    spec = find_spec("timm")
    path = Path(spec.origin).parent / LEMMAS if spec and spec.origin else LEMMAS
    if not path.is_file():
        return {}
    lines = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines())
    return {line[0]: line[1].partition(",")[0].strip() for line in lines if len(line) == 2}
