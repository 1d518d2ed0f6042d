"""`ast-resume RUN_DIR`: continues a run that was interrupted or killed, or that failed."""

from __future__ import annotations

from pathlib import Path

from ast_experiments.cli.main import Parser, begin, guarded, parser_of

EXAMPLES = """\
  ast-resume outputs/digits/RUN
  ast-resume outputs/digits/RUN hardware.auto_batch=true
                                after running out of memory
  ast-resume outputs/digits/RUN hardware.max_hours=8.5
                                if the session has a time limit"""


def main() -> None:
    """Entry point of `ast-resume`."""
    raise SystemExit(guarded(_main))


def _main() -> int:
    args = _parser().parse_intermixed_args()
    begin()
    from ast_experiments.analysis.reporting import reporting
    from ast_experiments.runs.resume import resume, saved_config

    config = saved_config(args.run, args.changes)
    with reporting(args.run, wanted=config.tracking.report):
        resume(args.run, config)
    return 0


def _parser() -> Parser:
    parser = parser_of("ast-resume", "Continue a run from its last checkpoint.", EXAMPLES)
    parser.add_argument("run", type=Path, metavar="RUN_DIR", help="run directory, below outputs/")
    parser.add_argument(
        "changes", nargs="*", default=[], metavar="key=value", help="settings that do not change the results"
    )
    return parser


if __name__ == "__main__":
    main()
