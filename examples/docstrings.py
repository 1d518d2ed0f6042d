"""Real text that every installation has: sentences from the docstrings of installed packages."""

import importlib
import inspect
import re
import warnings
import zlib
from collections.abc import Iterator

import torch

PACKAGES = ("matplotlib", "numpy", "sklearn", "sympy", "torch")
MODULES = {
    "matplotlib": ("pyplot", "axes", "figure", "artist", "colors", "patches", "lines", "text", "ticker", "transforms"),
    "numpy": ("linalg", "fft", "random", "ma", "polynomial", "char", "testing", "lib"),
    "sklearn": ("linear_model", "ensemble", "metrics", "preprocessing", "cluster", "svm", "decomposition", "datasets"),
    "sympy": ("core", "functions", "matrices", "solvers", "polys", "geometry", "stats", "physics"),
    "torch": ("nn", "optim", "linalg", "fft", "distributions", "utils.data", "nn.functional", "autograd"),
}
BUCKETS, WORDS = 8192, 32


def sentences(package: str) -> Iterator[tuple[str, str]]:
    """Yields (name of the object, sentence) for the public objects of a package, in a fixed order."""
    seen = set()
    for module in ("", *MODULES[package]):
        found = importlib.import_module(f"{package}.{module}".rstrip("."))
        for name, member in sorted(vars(found).items()):
            for inner, value in ((name, member), *(sorted(vars(member).items()) if inspect.isclass(member) else ())):
                text = inspect.getdoc(value) if callable(value) and not inner.startswith("_") else None
                for sentence in re.split(r"(?<=[.:])\s+|\n\n", text or ""):
                    words = re.findall(r"[a-z]{2,}", sentence.lower())
                    if 6 <= len(words) <= WORDS and sentence not in seen:
                        seen.add(sentence)
                        yield f"{package}.{name}", " ".join(word for word in words if word != package)


def tokens(sentence: str) -> list[int]:
    """Returns the hashes of the words, padded with 0, `WORDS` numbers."""
    ids = [1 + zlib.crc32(word.encode()) % (BUCKETS - 1) for word in sentence.split()]
    return ids + [0] * (WORDS - len(ids))


def load(limit: int = 2500, *, trial: bool = False) -> tuple[torch.utils.data.TensorDataset, ...]:
    """Returns training and test sentences as (tokens, package); a documented object is in one of the two only.

    With `trial`, the two are parts of the training sentences, to choose settings without the test sentences.
    """
    rows: dict[bool, list[tuple[list[int], int]]] = {True: [], False: []}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for label, package in enumerate(PACKAGES):
            for count, (name, sentence) in enumerate(sentences(package)):
                part, inner = zlib.crc32(name.encode()) % 5 > 0, zlib.crc32(name.encode()) // 5 % 5 > 0
                if count < limit and (part or not trial):
                    rows[inner if trial else part].append((tokens(sentence), label))
    sets = [[torch.tensor(column) for column in zip(*rows[part], strict=True)] for part in (True, False)]
    return torch.utils.data.TensorDataset(*sets[0]), torch.utils.data.TensorDataset(*sets[1])
