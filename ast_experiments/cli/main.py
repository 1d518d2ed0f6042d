"""What all commands share: exit codes, and errors in one line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from ast_experiments.core.errors import ConfigError, Interrupted, UserError
from ast_experiments.core.process import is_main_process

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 75
"""Exit codes. 75 tells batch systems to start the command again (`EX_TEMPFAIL` of sysexits.h)."""


def guarded(command: Callable[[], int]) -> int:
    """Runs a command and prints errors that the user can fix as one line each.

    Args:
        command: Returns an exit code.

    Returns:
        The exit code.

    Raises:
        Exception: Any error that is not the user's.
    """
    try:
        return command()
    except UserError as error:
        for line in str(error).splitlines() if is_main_process() else ():
            print(f"error: {line}", file=sys.stderr)
        return EXIT_USAGE if isinstance(error, ConfigError) else EXIT_FAILED
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILED
    except (Interrupted, KeyboardInterrupt) as error:
        print(f"interrupted: {error}" if str(error) else "interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED


def parser_of(command: str, description: str, examples: str) -> argparse.ArgumentParser:
    """Returns the parser of a command, whose help shows both texts as they are written."""
    return argparse.ArgumentParser(
        prog=command,
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
