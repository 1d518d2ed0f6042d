"""What goes wrong with data."""


class DataError(Exception):
    """A data set is missing, damaged or not what it says; one line that says what to do about it."""
