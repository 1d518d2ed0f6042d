"""The layout of the package: short files, short functions, and file names that do not repeat their folder."""

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ast_experiments"
FILES = sorted(PACKAGE.rglob("*.py"))
CODE = [path for path in FILES if path.name != "__init__.py"]
FILE_LINES, MEDIAN_LINES, FUNCTION_LINES = 300, 120, 60


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_files_and_functions_are_short(path: Path) -> None:
    assert lines(path) <= FILE_LINES
    assert [f"{name}: {length} lines" for name, length in functions(path) if length > FUNCTION_LINES] == []


def test_the_median_file_is_short() -> None:
    assert statistics.median(map(lines, CODE)) <= MEDIAN_LINES


def test_no_file_name_repeats_the_name_of_its_folder() -> None:
    repeated = [path for path in CODE if repeats(path.stem, path.parent.name)]
    assert [path.relative_to(PACKAGE).as_posix() for path in repeated] == []


def repeats(name: str, folder: str) -> bool:
    return name == folder or name.startswith((f"{folder}_", f"{folder.removesuffix('s')}_"))
