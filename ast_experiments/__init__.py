"""Train on fewer samples and measure what that saves."""

__version__ = "0.1.0"
