"""Errors that a user can mend. Each message is one line: what was wrong, what was expected, what to type."""


class UserError(Exception):
    """Something that the user can mend; shown without a traceback."""


class ConfigError(UserError):
    """A setting that does not exist, has the wrong type or an impossible value."""


class DataError(UserError):
    """Data that is missing or is not what it should be."""


class Diverged(UserError):
    """The loss is no longer a number."""


class OutOfMemory(UserError):
    """The device has no room for a batch."""


class InValidation(Exception):
    """The memory of the device ran out while `rows` rows were validated at once."""

    def __init__(self, rows: int) -> None:
        super().__init__(f"out of memory while {rows} rows were validated at once")
        self.rows = rows


class Interrupted(BaseException):
    """Training stopped on a signal, after saving. Not an `Exception`, so that it ends a sweep too."""
