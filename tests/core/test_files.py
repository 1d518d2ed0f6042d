import errno
import json
from contextlib import nullcontext
from pathlib import Path

import pytest

from ast_experiments.core import files
from ast_experiments.core.errors import DataError, UserError
from ast_experiments.core.files import (
    append_line,
    exclusive_lock,
    open_atomic,
    read_json,
    remove_parts,
    write_atomic,
    write_json,
)
from ast_experiments.core.yaml_files import read_yaml


@pytest.mark.parametrize("content", ["für\n", b"\x00\xff"])
def test_a_write_replaces_the_file_and_leaves_nothing_else(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "page.html"
    path.write_text("before")
    assert write_atomic(path, content) == path
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_keeps_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    path.write_bytes(b"old")
    with pytest.raises(TypeError), open_atomic(path) as file:
        file.writelines([b"half", "not bytes"])  # type: ignore[list-item]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_do_not_clash_and_leftovers_go(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    (tmp_path / "state.pt.0a1b.part").write_bytes(b"what a killed process left")
    with open_atomic(path) as one, open_atomic(path) as other:
        other.write(b"other")
        one.write(b"one")
    assert path.read_bytes() == b"one", "the last one to end wins, whole"
    remove_parts(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("number", "failures", "fails"),
    [(errno.ESTALE, 2, False), (errno.EIO, 3, False), (errno.EIO, 4, True), (errno.ENOSPC, 1, True)],
)
def test_a_rename_is_tried_again_where_file_systems_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, failures: int, fails: bool
) -> None:
    path, replace, left = tmp_path / "a", Path.replace, [failures]

    def flaky(self: Path, target: Path) -> Path:
        if left[0]:
            left[0] -= 1
            raise OSError(number, "not now")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", flaky)
    monkeypatch.setattr(files, "RETRY_S", 0.0)
    with pytest.raises(OSError, match="not now") if fails else nullcontext():
        write_atomic(path, "new")
    assert [p.name for p in tmp_path.iterdir()] == ([] if fails else ["a"])


@pytest.mark.parametrize(
    ("before", "after"),
    [(None, b"{}\n"), (b"", b"{}\n"), (b"[1]\n", b"[1]\n{}\n"), (b'[1]\n{"cu', b'[1]\n{"cu\n{}\n')],
)
def test_an_appended_line_spoils_no_other(tmp_path: Path, before: bytes | None, after: bytes) -> None:
    path = tmp_path / "journal.jsonl"
    if before is not None:
        path.write_bytes(before)
    append_line(path, "{}")
    assert path.read_bytes() == after


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"a: [", "while parsing"),
        (b"\xff\xfe", "utf-8"),
        (b"5", "Invalid loaded object"),
        (b"a: &a\n  b: *a\n", "contains itself"),
        (
            b"a0: &a0 [0]\n"
            + b"".join(b"a%d: &a%d [%s]\n" % (i, i, b",".join([b"*a%d" % (i - 1)] * 9)) for i in range(1, 9)),
            "stand for more",
        ),
        (b"[" * 3000, "nested too deeply"),
        (b"a: " + b"x" * 2_000_000, "bytes, more than"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_yaml_is_bounded_and_its_errors_are_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"config\.yaml cannot be read \(.*{reason}") as raised:
        read_yaml(path)
    assert len(str(raised.value).splitlines()) == 1


def test_json_round_trip(tmp_path: Path) -> None:
    path = write_json(tmp_path / "plan.json", {"folder": tmp_path, "seeds": (0, 1)})
    assert read_json(path) == {"folder": str(tmp_path), "seeds": [0, 1]}
    assert json.loads(path.read_text()) == read_json(path)


def test_a_missing_file_is_none_and_a_broken_one_an_error(tmp_path: Path) -> None:
    assert read_json(tmp_path / "absent.json") is None
    broken = tmp_path / "broken.json"
    broken.write_text('{"a": ')
    with pytest.raises(DataError, match=r"broken\.json is not valid JSON .*; restore the file, or delete it"):
        read_json(broken)


def test_a_second_holder_is_refused_until_the_first_is_done(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    with exclusive_lock(lock):
        with pytest.raises(UserError, match="is in use by another process"), exclusive_lock(lock):
            pass
        with pytest.raises(UserError, match=r"^another ast-bench$"), exclusive_lock(lock, "another ast-bench"):
            pass
    with exclusive_lock(lock, wait=True):
        pass
