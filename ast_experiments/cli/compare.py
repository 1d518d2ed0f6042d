"""`ast-compare RUNS...`: what a method saves, compared with baselines at equal cost."""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ast_experiments.cli.main import begin, guarded, parser_of
from ast_experiments.core.errors import ConfigError, UserError
from ast_experiments.core.files import write_atomic

if TYPE_CHECKING:
    from ast_experiments.comparison.compare import Comparison
    from ast_experiments.comparison.runs import LoadedRuns

NAME = "compare"
WIDTH = 160  # of tables that are written to a file
AXES = ("joules", "seconds", "flops", "samples")

DESCRIPTION = """\
Compare runs: accuracy against cost, a verdict for each method, and three kinds
of saving side by side. Prints tables, and writes compare.html, compare.csv and
compare.json."""

EXAMPLES = """\
  ast-compare outputs/sweeps/SWEEP      all runs below a directory
  ast-compare RUN RUN RUN --x samples   some runs, cost counted in trained rows
  ast-compare outputs --by dataset      all data sets, side by side"""


def main() -> None:
    """Entry point of `ast-compare`."""
    raise SystemExit(guarded(_main))


def _main() -> int:
    args = _parser().parse_intermixed_args()
    if args.margin is not None and not 0 < args.margin < 100:
        raise ConfigError(
            f"--margin {args.margin:g}: expected points of accuracy between 0 and 100; type e.g. --margin 0.2"
        )
    if not 0 <= args.tolerance < 1:
        raise ConfigError(
            f"--tolerance {args.tolerance:g}: expected a share of at least 0 and below 1; type e.g. --tolerance 0.15"
        )
    if args.samples and args.samples[0] == args.samples[1]:
        number = args.samples[0]
        raise ConfigError(f"--samples {number} {number}: expected two arms; type e.g. --samples 1 2")
    begin("reading the runs")
    from ast_experiments.comparison.compare import compare
    from ast_experiments.comparison.runs import load

    across = args.by == "dataset"
    with _quiet():
        loaded = load(args.runs, views=args.accuracy == "views")
        names = _datasets(loaded, args.runs, across=across)
        comparisons = [compare(loaded, name, x=args.x, margin=args.margin, tolerance=args.tolerance) for name in names]
        name = f"{NAME}_views" if args.accuracy == "views" else NAME
        folder = args.out or _folder(args.runs)
        written = report_comparisons(comparisons, folder, name=name, across=across, samples=args.samples)
    print(*written, sep="\n")
    return 0


@contextmanager
def _quiet() -> Iterator[None]:
    """Hides log messages about files that cannot be read; the notes of the comparison list them."""
    logger = logging.getLogger("ast_experiments.runs.record")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("ast-compare", DESCRIPTION, EXAMPLES)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUNS", help="run directories, or directories of them")
    parser.add_argument("--by", choices=("dataset",), help="show the data sets side by side")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="output directory (default: RUNS, if it is one directory)"
    )
    parser.add_argument(
        "--accuracy", choices=("plain", "views"), default="plain", help="views: with six views, of runs with eval_views"
    )
    parser.add_argument("--x", choices=AXES, help="unit of cost (default: joules if measured, else flops)")
    parser.add_argument(
        "--margin",
        type=float,
        metavar="POINTS",
        help="largest difference to call equal (default: 0.5; 0.2 on cifar10)",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.15,
        metavar="SHARE",
        help="largest difference in cost between a method and its baselines (default: 0.15)",
    )
    parser.add_argument(
        "--samples",
        type=int,
        nargs=2,
        default=(),
        metavar="ARM",
        help="numbers of the arms whose samples the page shows side by side (default: two methods that choose)",
    )
    return parser


def _datasets(loaded: LoadedRuns, paths: Sequence[Path], *, across: bool) -> list[str]:
    """Returns the data sets to compare on.

    Raises:
        UserError: If there is nothing to compare, or several data sets without `--by dataset`.
    """
    from ast_experiments.comparison.runs import NOTHING

    names = sorted({run.dataset for run in loaded.runs})
    if not names:
        where = ", ".join(map(str, paths))
        last = f"no finished run at or below {where}; type ast-compare outputs/DATASET"
        notes = loaded.notes if any(NOTHING not in note for note in loaded.notes) else []
        raise UserError("\n".join([*notes, last]))
    if len(names) > 1 and not across:
        raise UserError(
            f"the runs are on {len(names)} data sets ({', '.join(names)}); type --by dataset, or name the runs of one"
        )
    return names


def _prepare(folder: Path) -> None:
    """Creates the output directory.

    Raises:
        UserError: If it is not writable.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"{folder}: is not writable ({error.strerror}); type --out DIR") from error


def report_comparisons(
    comparisons: Sequence[Comparison],
    folder: Path,
    *,
    name: str = NAME,
    across: bool = False,
    samples: Sequence[int] = (),
) -> list[Path]:
    """Prints comparisons and writes them to a directory as NAME.html, .csv and .json.

    Args:
        comparisons: One per data set.
        folder: The directory.
        name: Name of the files.
        across: Whether to compare the data sets with each other as well.
        samples: Numbers of the arms whose samples the page shows side by side; see `render_page`.

    Returns:
        Paths of the files.

    Raises:
        UserError: If the directory is not writable, or an arm has no samples to show.
    """
    from rich.console import Console

    from ast_experiments.comparison.datasets import side_by_side
    from ast_experiments.comparison.export import write_csv, write_json
    from ast_experiments.comparison.page import render_page
    from ast_experiments.comparison.tables import print_comparison, print_line, print_table

    _prepare(folder)
    html = render_page(comparisons, across=across, samples=samples)
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    if across:
        print_table(side_by_side(comparisons), console)
    for comparison in comparisons:
        print_comparison(comparison, console)
    for note in dict.fromkeys(note for comparison in comparisons for note in comparison.notes):
        print_line(note, console)
    page, table, content = (folder / f"{name}.{ending}" for ending in ("html", "csv", "json"))
    write_atomic(page, html)
    write_csv(comparisons, table)
    write_json(comparisons, content)
    return [page, table, content]


def _folder(paths: Sequence[Path]) -> Path:
    from ast_experiments.runs.record import is_run

    if len(paths) == 1 and not is_run([path.name for path in paths[0].iterdir()]):
        return paths[0]
    return Path(NAME)


if __name__ == "__main__":
    main()
