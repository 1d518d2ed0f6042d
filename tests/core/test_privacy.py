"""Homes, users and hosts are taken out; nothing else is."""

from __future__ import annotations

import getpass
import socket
from pathlib import Path

import pytest

from ast_experiments.core import privacy
from ast_experiments.core.privacy import without_places


@pytest.fixture(autouse=True)
def _alice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/homes/alice"))
    monkeypatch.setattr(getpass, "getuser", lambda: "alice")
    monkeypatch.setattr(socket, "gethostname", lambda: "node17.cluster.org")
    for found in (privacy._home, privacy._named):
        found.cache_clear()
    yield  # pyright: ignore
    for found in (privacy._home, privacy._named):
        found.cache_clear()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/homes/alice/data/x", "~/data/x"),
        ("dataset.root=/home/bob/d", "dataset.root=~/d"),
        ("hydra.searchpath=['file:///home/bob/conf']", "hydra.searchpath=['file://~/conf']"),
        ("../../home/bob/runs/a", "~/runs/a"),
        ("/nfs/home/bob/runs", "~/runs"),
        ("/Users/bob", "~"),
        (r"C:\Users\bob\data", r"~\data"),
        ("/root/data", "~/data"),
        ("/scratch/alice/data", "/scratch/USER/data"),
        ("node17: out of memory", "HOST: out of memory"),
        ("at node17.cluster.org, pid 5", "at HOST, pid 5"),
    ],
)
def test_what_goes(text: str, shown: str) -> None:
    assert without_places(text) == shown
    assert without_places({"a": [text, (text,)], "host": "node17"}) == {"a": [shown, [shown]]}


@pytest.mark.parametrize(
    "text",
    [
        "/mnt/data",
        "dataset.root=data",
        "https://site.org/home/page",
        "rows/trained",
        "alice",
        "../runs/a",
        "a/home/b",
        "",
    ],
)
def test_what_stays(text: str) -> None:
    assert without_places(text) == text


def test_what_is_no_text_stays() -> None:
    assert without_places({"a": 1, "b": None, "c": [1.5, True]}) == {"a": 1, "b": None, "c": [1.5, True]}
