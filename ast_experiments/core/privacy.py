"""Takes out of a record what names a person or a machine: homes, users and hosts, before it is shown or uploaded."""

from __future__ import annotations

import getpass
import os
import re
import socket
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

HOSTS = frozenset(("host", "hostname", "user", "username", "email"))
"""Keys whose values are left out."""

_NAME = r"[^/\s'\",:;()\[\]{}<>|]+"
_HOMES = re.compile(
    rf"(?:(?:\.\./)+|(?<=file://)/|(?<![\w.:/])(?:/[\w.-]+){{0,4}}/)(?:home|Users)/{_NAME}"
    r"|(?<![\w.])/root(?![\w.-])"
    r"|[A-Za-z]:\\+Users\\+[^\\\s'\",;]+"
)


def without_places(value: Any) -> Any:
    """Returns a value without homes, users and hosts.

    A home directory becomes `~`, a user's name within a path `USER`, this machine's name `HOST`; entries of the keys
    `HOSTS` are left out. Other paths stay as they are.

    Args:
        value: Text, or mappings and lists of it; anything else is returned as it is.
    """
    if isinstance(value, str):
        return _without(value)
    if isinstance(value, Mapping):
        return {_without(str(key)): without_places(each) for key, each in value.items() if key not in HOSTS}
    if isinstance(value, list | tuple):
        return [without_places(each) for each in value]
    return without_places(str(value)) if isinstance(value, os.PathLike) else value


def without_homes(text: str) -> str:
    """Returns a text with `~` in place of home directories as systems name them; the same on every machine."""
    return _HOMES.sub("~", text)


def _without(text: str) -> str:
    if "/" not in text and "\\" not in text and not _named().search(text):
        return text
    home = _home()
    if home:
        text = re.sub(rf"{re.escape(home)}(?![\w-])", "~", text)
    return _named().sub(lambda found: "USER" if found["user"] else "HOST", without_homes(text))


@cache
def _home() -> str:
    try:
        home = str(Path.home())
    except RuntimeError:
        return ""
    return home if len(home) > 1 else ""


@cache
def _named() -> re.Pattern[str]:
    """Returns the pattern of this user within paths, and of this machine anywhere."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = ""
    host = socket.gethostname()
    hosts = [name for name in dict.fromkeys((host, host.partition(".")[0])) if len(name) > 2 and name != "localhost"]
    parts = [rf"(?<=[/\\])(?P<user>{re.escape(user)})(?=[/\\\s'\",]|$)" if user else r"(?P<user>(?!))"]
    parts += [rf"(?<![\w.-]){re.escape(name)}(?![\w-])" for name in hosts]
    return re.compile("|".join(parts))
