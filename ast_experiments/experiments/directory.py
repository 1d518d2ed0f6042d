"""Directories of studies and searches: their names, and the JSON file that holds the request."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ast_experiments.core.errors import ConfigError, DataError, UserError
from ast_experiments.core.files import read_json
from ast_experiments.core.text import slug

Request = TypeVar("Request")
MOST_LETTERS = 100
"""Longest name of a directory: file systems allow 255 bytes, and names of files in it are made from it."""


def folder_name(text: str) -> str:
    """Turns text into the name of a directory."""
    return slug(text).strip("-.")


def check_name(name: str) -> str:
    """Returns a name that the user typed, if it can name a directory.

    Raises:
        ConfigError: If it is empty or contains characters that file names should not have.
    """
    if len(name) > MOST_LETTERS:
        raise ConfigError(f"name={name[:20]}...: has {len(name)} letters, more than {MOST_LETTERS}; type a shorter one")
    if not name or folder_name(name) != name:
        example = folder_name(name) or "NAME"
        raise ConfigError(f"name={name}: expected letters, digits and . _ = , + -; type e.g. name={example}")
    return name


def default_name(overrides: Sequence[str]) -> str:
    """Derives a name from overrides, so that the same command finds its directory again."""
    chosen = {key: value for key, _, value in (override.partition("=") for override in overrides)}
    label = chosen.get("experiment") or chosen.get("dataset") or "digits"
    return f"{folder_name(label)[:MOST_LETTERS]}-{hashlib.sha256(' '.join(overrides).encode()).hexdigest()[:6]}"


def checked(schema: type[Request], made: Request) -> Request:
    """Returns a request that was read from a file, with every value checked against its type.

    Raises:
        ValueError: If one is of another type.
    """
    import dataclasses

    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(schema).validate_python(dataclasses.asdict(made))  # pyright: ignore[reportArgumentType]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def read_request(path: Path, parse: Callable[[dict[str, Any]], Request]) -> Request | None:
    """Reads what an earlier command was asked to do. Returns None if there is no such file.

    Args:
        path: A JSON file.
        parse: Builds the request from its content.

    Raises:
        UserError: If the file is not such a request.
    """
    try:
        content = read_json(path)
        return None if content is None else parse(content)
    except (DataError, LookupError, TypeError, ValueError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error)
        reason = " ".join(reason.split())[:200]
        raise UserError(f"{path} cannot be read ({reason}); type another name=, or move the file away") from error
