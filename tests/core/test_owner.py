"""One owner of a directory, whatever its file says and whoever comes at the same time."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from ast_experiments.core import owner
from ast_experiments.core.errors import UserError
from ast_experiments.core.owner import NAME, Owner, owned, read_owner

RIVAL = """
import sys, time
from pathlib import Path
from ast_experiments.core.errors import UserError
from ast_experiments.core.owner import owned
folder = Path(sys.argv[1])
while not (folder / "go").exists():
    time.sleep(0.001)
try:
    with owned(folder):
        print("owner", flush=True)
        time.sleep(1.5)
except UserError as error:
    print(error)
"""


def me() -> Owner:
    return Owner(
        "node1", os.getpid(), "2026-01-02 03:04:05 UTC", owner._machine(), owner._begun(os.getpid()) or "", "t"
    )


def leave(folder: Path, content: str | bytes, silent: float) -> None:
    path = folder / NAME
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    then = time.time() - silent
    os.utime(path, (then, then))


HELD = r"is in use by another process \(host node1, pid \d+, since 2026-01-02 03:04:05 UTC\)"
CASES = {
    "alive here": (me(), 0, HELD + "; wait until it ends"),
    "alive here, and silent": (me(), 9999, HELD + "; wait until it ends"),
    "dead here": (replace(me(), pid=2**22 + 5), 0, None),
    "another process of this number": (replace(me(), begun="1"), 0, None),
    "alive elsewhere": (replace(me(), machine="boot2 pid:[1]"), 30, HELD + r", alive 30 s ago; .* in 90 s, or delete "),
    "silent elsewhere": (replace(me(), machine="boot2 pid:[1]"), 121, None),
    "on a machine that says nothing": (replace(me(), machine=""), 30, HELD),
    "damaged, just now": ('{"host": ', 1, "which says nothing of itself"),
    "damaged, long ago": ("\0\xff", 121, None),
    "another kind of file": ("[1]", 121, None),
    "wrong types": (json.dumps(asdict(me()) | {"pid": "x"}), 121, None),
}


@pytest.mark.parametrize("name", CASES)
def test_who_may_take_a_directory(name: str, tmp_path: Path) -> None:
    before, silent, refused = CASES[name]
    leave(tmp_path, json.dumps(asdict(before)) if isinstance(before, Owner) else before, silent)
    kept = (tmp_path / NAME).read_bytes()
    if refused:
        with pytest.raises(UserError, match=refused) as raised, owned(tmp_path):
            pass
        assert len(str(raised.value).splitlines()) == 1
        assert (tmp_path / NAME).read_bytes() == kept
        assert os.listdir(tmp_path) == [NAME]
        return
    with owned(tmp_path):
        found = read_owner(tmp_path)
        assert found is not None
        assert found.pid == os.getpid()
        assert found.here
        assert found.alive
        assert os.listdir(tmp_path) == [NAME]
    assert os.listdir(tmp_path) == []


def test_a_directory_that_stays_empty_goes_again(tmp_path: Path) -> None:
    with owned(tmp_path / "a" / "b"):
        pass
    assert os.listdir(tmp_path) == []
    with owned(tmp_path / "a" / "b"):
        (tmp_path / "a" / "file").touch()
    assert os.listdir(tmp_path / "a") == ["file"]


def test_where_no_directory_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "a", Path("/proc/a")):
        with (
            pytest.raises(UserError, match=f"^{folder}: no directory can be made there .*; name another one"),
            owned(folder),
        ):
            pass


def test_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"^/proc: nothing can be written there \(.*\)"), owned(Path("/proc")):
        pass

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(UserError, match="No space left on device"), owned(tmp_path / "a" / "b"):
        pass
    assert os.listdir(tmp_path) == []


def test_one_of_many_that_come_at_once(tmp_path: Path) -> None:
    leave(tmp_path, json.dumps(asdict(replace(me(), pid=2**22 + 5))), 0)
    command = [sys.executable, "-c", RIVAL, str(tmp_path)]
    rivals = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    time.sleep(1)
    (tmp_path / "go").touch()
    said = [rival.communicate()[0].strip() for rival in rivals]
    assert sum(line == "owner" for line in said) == 1, said
    assert sum("in use by another process" in line for line in said) == 5, said


def test_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    with owned(tmp_path):
        assert read_owner(tmp_path)
        with pytest.raises(UserError, match="in use by another process"), owned(tmp_path):
            pass
    assert os.listdir(tmp_path) == []


def test_the_owner_is_heard_and_notices_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "BEAT_S", 0.02)
    ended = threading.Event()
    monkeypatch.setattr(owner.os, "_exit", lambda code: ended.set())
    with owned(tmp_path):
        os.utime(tmp_path / NAME, (0, 0))
        time.sleep(0.3)
        assert (tmp_path / NAME).stat().st_mtime > 0
        (tmp_path / NAME).unlink()
        time.sleep(0.3)
        assert (read_owner(tmp_path) or me()).pid == os.getpid()
        assert not ended.is_set()
        leave(tmp_path, json.dumps(asdict(replace(me(), machine="boot2", token="other"))), 0)
        assert ended.wait(5)
    assert (read_owner(tmp_path) or me()).token == "other", "the other's file stays"
