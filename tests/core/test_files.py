import json
from pathlib import Path

import pytest

from ast_experiments.core.errors import DataError, UserError
from ast_experiments.core.files import exclusive_lock, open_atomic, read_json, write_atomic, write_json


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


def test_what_a_killed_process_left_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    (tmp_path / "state.pt.part").write_bytes(b"a longer leftover")
    with open_atomic(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


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
