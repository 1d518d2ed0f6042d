"""Reads YAML files that anybody may have written or damaged: bounded, checked, and with one error."""

from __future__ import annotations

import stat
from io import StringIO
from pathlib import Path
from typing import Any

from ast_experiments.core.errors import DataError

MAX_BYTES, MAX_NODES = 1_000_000, 100_000
"""Size of the largest file that is read, and its largest number of values once every alias is written out."""


def read_yaml(path: Path) -> Any:
    """Reads a YAML file as OmegaConf's container.

    Raises:
        DataError: If it cannot be read, is no mapping or list, or its aliases grow beyond all bounds.
    """
    import yaml
    from omegaconf import OmegaConf

    try:
        if not path.is_file():
            raise ValueError("it is no file")
        if (size := path.stat().st_size) > MAX_BYTES:
            raise ValueError(f"it has {size:,} bytes, more than {MAX_BYTES:,}")
        text = path.read_bytes().decode()
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            raise ValueError("it is empty")
        _count(node, {})
        return OmegaConf.load(StringIO(text))
    except RecursionError as error:
        raise DataError(f"{path} cannot be read (it is nested too deeply)") from error
    except Exception as error:  # whatever the parser meets
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise DataError(f"{path} cannot be read ({lines[0][:150] if lines else type(error).__name__})") from error


def check_bounds(path: Path) -> None:
    """Checks that a YAML file that something else will read is small, with every alias written out.

    Raises:
        DataError: If it is not. What is no YAML at all is left to who reads it.
    """
    import yaml

    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            return
        if not stat.S_ISREG(found.st_mode):  # a pipe would wait for ever
            raise DataError(f"{path} is no file; move it away")
        if found.st_size > MAX_BYTES:
            raise DataError(f"{path} has {found.st_size:,} bytes, more than {MAX_BYTES:,}; move it away")
        _count(yaml.compose(path.read_bytes(), Loader=yaml.SafeLoader), {})
    except (yaml.YAMLError, OSError, AttributeError):  # AttributeError: an empty file has no node
        return
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({str(error).splitlines()[0]}); move it away") from error


def _count(node: Any, known: dict[int, int | None]) -> int:
    """Returns the number of values at and below a node, each alias counted as what it stands for."""
    if (found := known.get(id(node), 0)) is None:
        raise ValueError("an alias contains itself")
    if found:
        return found
    known[id(node)] = None
    children: list[Any] = []
    if isinstance(node.value, list):
        children = [each for item in node.value for each in (item if isinstance(item, tuple) else (item,))]
    total = 1
    for child in children:
        total += _count(child, known)
        if total > MAX_NODES:
            raise ValueError(f"its aliases stand for more than {MAX_NODES:,} values")
    known[id(node)] = total
    return total
