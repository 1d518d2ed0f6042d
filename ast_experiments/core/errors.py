"""Errors that a user can fix. Each message is one line: what was wrong, what was expected, what to type."""


class UserError(Exception):
    """An error that the user can fix; shown without a traceback."""


class ConfigError(UserError):
    """A setting that does not exist, has the wrong type or an impossible value."""


class DataError(UserError):
    """Data that is missing or damaged."""


class Diverged(UserError):
    """A loss that is NaN or infinite."""


class OutOfMemory(UserError):
    """A batch that does not fit on the device."""


class EvalOutOfMemory(Exception):
    """Out of memory during validation, with `rows` rows at once."""

    def __init__(self, rows: int) -> None:
        super().__init__(f"out of memory while validating {rows} rows at once")
        self.rows = rows


class LostProcess(UserError):
    """Another process of a data-parallel run that has gone or no longer answers."""


class Interrupted(BaseException):
    """Training that stopped on a signal, after saving. Not an `Exception`, so that it ends a sweep too."""
