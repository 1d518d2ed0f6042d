"""Class lists of data sets; those that are known by name are in the folder `lists`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path

from ast_experiments.core.errors import DataError


class ClassChoice:
    """Chooses classes by a list and identifies the list.

    Args:
        title: Published name of the data set.
        known: Names of its class lists.
        wanted: Name of a list, or a file; None takes the known list that the data contains, or all classes if it
            contains none.
        strict: Whether a missing class of the wanted list is an error; otherwise it is skipped.

    Raises:
        DataError: If there is no such list.
    """

    def __init__(self, title: str, known: Iterable[str], wanted: str | None, *, strict: bool = True) -> None:
        self._title, self._wanted, self._strict = title, wanted, strict
        self._lists = {name: read_list(name) for name in (*known, *([wanted] if wanted else []))}

    def __call__(self, found: Sequence[str]) -> Sequence[str]:
        """Returns the chosen classes in label order.

        Raises:
            DataError: If some are missing, or the data contains several known lists and none was chosen.
        """
        if self._wanted:
            missing = self.missing(found)
            if missing and self._strict:
                of = len(self._lists[self._wanted])
                raise DataError(
                    f"class list {self._wanted}: {len(missing)} of its {of} classes are missing "
                    f"({', '.join(missing[:3])}); {self.described(found)}"
                )
            return [name for name in found if name in self._lists[self._wanted]]
        inside = [name for name, members in self._lists.items() if members <= set(found)]
        if len(inside) > 1:
            choices = " or ".join(f"dataset.class_list={name}" for name in inside)
            raise DataError(f"the data has {len(found)} classes, more than {self._title}; type {choices}")
        return [name for name in found if name in self._lists[inside[0]]] if inside else found

    def missing(self, found: Sequence[str]) -> list[str]:
        """Returns the missing classes of the wanted list, or of the nearest list if the data has half of it."""
        nearest = max(self._lists, key=lambda name: len(self._lists[name] & set(found)), default=None)
        members = self._lists.get(self._wanted or nearest or "", set())
        absent = sorted(members - set(found))
        return absent if self._wanted or 2 * len(absent) <= len(members) else []

    def name_of(self, classes: Sequence[str]) -> str | None:
        """Returns the name of the list with exactly these classes."""
        return next((name for name, members in self._lists.items() if members == set(classes)), None)

    def described(self, classes: Sequence[str]) -> str:
        """Describes which list these classes are, or how many they share with each list."""
        name = self.name_of(classes)
        if name is not None:
            return f"class list {name}"
        shared = (f"{len(of & set(classes))} of {len(of)} of {name}" for name, of in self._lists.items())
        return f"these {len(classes)} classes are no class list of {self._title}: they contain {', '.join(shared)}"

    def facts(self, classes: Sequence[str]) -> dict[str, str]:
        """Returns name and hash of the class list, for result.json."""
        return {"class_list": self.name_of(classes) or "none", "class_list_hash": hash_of(classes)}


def read_list(name: str) -> set[str]:
    """Reads a class list of the package, or a file with a class as the first word of each line.

    Raises:
        DataError: If there is no such list, or it is no text.
    """
    shipped = files("ast_experiments.data.encoded") / "lists" / f"{name}.txt"
    path = shipped if shipped.is_file() else Path(name).expanduser()
    if not path.is_file():
        raise DataError(f"dataset.class_list: there is no list {name}; expected cmc, kaggle or a file")
    try:
        text = path.read_bytes().decode()
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(f"dataset.class_list: {name} is no text in UTF-8; expected a class in each line") from error
    found = {line.split()[0] for line in text.splitlines() if line.strip()}
    if not found:
        raise DataError(f"dataset.class_list: {name} names no class; expected one in each line")
    return found


def hash_of(classes: Sequence[str]) -> str:
    """Returns twelve hex digits that identify a set of classes."""
    return hashlib.sha256("\n".join(sorted(classes)).encode()).hexdigest()[:12]
