"""What all commands share: exit codes, and errors in one line."""

from __future__ import annotations

import argparse
import atexit
import io
import logging
import os
import re
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import NoReturn

from ast_experiments.core.errors import ConfigError, Interrupted, LostProcess, UserError
from ast_experiments.core.process import endings, ignore_signal, is_main_process, speaks_for_machine

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 75
"""Exit codes. 75 tells batch systems to start the command again (`EX_TEMPFAIL` of sysexits.h)."""

WITHOUT_SETTINGS = ("ast-compare",)
"""Commands that take no settings."""

FULL = "HYDRA_FULL_ERROR"
"""Environment variable that shows the traceback of an error in place of one line."""


def guarded(command: Callable[[], int]) -> int:
    """Runs a command and prints its errors as one line each.

    An error that is not the user's names the log with its traceback; `HYDRA_FULL_ERROR=1` shows it instead.

    Args:
        command: Returns an exit code.

    Returns:
        The exit code.
    """
    logging.raiseExceptions = False  # a log on a full disk is not worth a traceback
    threading.excepthook = _note_thread
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may be no text
    try:
        with _interruptible():
            return command()
    except UserError as error:
        lost = isinstance(error, LostProcess) and speaks_for_machine()
        for line in str(error).splitlines() if is_main_process() or lost else ():
            _say(f"error: {line}")
        return EXIT_USAGE if isinstance(error, ConfigError) else EXIT_FAILED
    except BrokenPipeError:  # the reader of a pipe, such as head, has gone
        _drop_output()
        return EXIT_FAILED
    except OSError as error:
        _say(f"error: {error}")
        return EXIT_FAILED
    except (Interrupted, KeyboardInterrupt) as error:
        _say(f"interrupted: {error}" if str(error) else "interrupted")
        return EXIT_INTERRUPTED
    except Exception as error:
        if os.environ.get(FULL):
            raise
        if is_main_process():
            _say(unexpected(error))
        return EXIT_FAILED


def begin(doing: str = "loading PyTorch") -> None:
    """Says on a terminal that the command has begun with what takes seconds."""
    if sys.stderr.isatty() and is_main_process():
        _say(f"{Path(sys.argv[0]).name} {version('ast-experiments')}: {doing}")


def _say(line: str) -> None:
    with suppress(OSError):  # the terminal has gone
        print(line, file=sys.stderr)


def completed() -> bool:
    """Answers a shell that asks for completions, whose settings are those of `ast-train`; returns whether it did."""
    if sys.argv[1:2] != ["-sc"]:
        return False
    from ast_experiments.config.hydra_app import show

    show(sys.argv[1:])
    return True


def unexpected(error: Exception) -> str:
    """Describes an error that nobody foresaw, in one line, after its traceback was written to a log.

    The log is the train.log of the run that is open, otherwise a new file in the system's temporary directory.
    """
    text = " ".join(str(error).split())[:300]
    message = f"error: {type(error).__name__}{f': {text}' if text else ''}"
    where = ""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler) and Path(handler.baseFilename).is_file():
            logging.getLogger(__name__).info("the command failed", exc_info=error)
            where = os.path.relpath(handler.baseFilename)
    if not where:
        with (
            suppress(OSError),
            tempfile.NamedTemporaryFile(
                "w", encoding="utf-8", prefix="ast-error-", suffix=".log", delete=False
            ) as file,
        ):
            traceback.print_exception(error, file=file)
            where = file.name
    return f"{message}; {f'the traceback is in {where}' if where else f'type {FULL}=1 before the command to see where'}"


def _note_thread(failed: threading.ExceptHookArgs) -> None:
    """Logs an error that ended a thread; what the thread was for notices its end."""
    error = failed.exc_value
    logging.getLogger(__name__).info("a thread ended with an error", exc_info=error or True)


def _drop_output() -> None:
    """Sends what is left to print nowhere: Python flushes the output at its end, which would fail again."""
    with suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lets SIGTERM and SIGHUP end the block as Ctrl-C does; a run handles them itself, once its imports are made.

    Once one has ended the block, another is ignored: the command is about to exit with its own code.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        del frame
        raise Interrupted(signal.Signals(number).name)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, interrupt) for number in endings()}
    try:
        yield
    except (Interrupted, KeyboardInterrupt):
        for number in before:
            before[number] = ignore_signal
            # The interpreter gives a signal its default back before the process is gone, unless it is ignored.
            atexit.register(signal.signal, number, signal.SIG_IGN)
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, like all others. Flags may stand between other arguments."""

    def error(self, message: str) -> NoReturn:
        """Raises a ConfigError."""
        flag = re.search(r"unrecognized arguments: (--?([\w.-]+))(?:[= ](\S+))?", message)
        if flag:
            message = f"{flag[1]}: no such flag"
            if self.prog not in WITHOUT_SETTINGS:
                from ast_experiments.config.compose import full_key

                at = sys.argv.index(flag[1]) + 1 if flag[1] in sys.argv else len(sys.argv)
                value = flag[3] or next(iter(sys.argv[at:]), "VALUE")
                message += f"; settings have no dashes, as in {full_key(flag[2].replace('-', '_'))}={value}"
        raise ConfigError(f"{message}; type {self.prog} --help")


def parser_of(command: str, description: str, examples: str) -> Parser:
    """Returns the parser of a command, whose help shows both texts as they are written."""
    parser = Parser(
        prog=command,
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ast-experiments {version('ast-experiments')}")
    return parser
