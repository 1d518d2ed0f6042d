"""Train on fewer samples and measure what that saves."""

import os
import time

__version__ = "0.1.0"

STARTED = float(os.environ.get("AST_EXPERIMENTS_STARTED", time.monotonic()))
"""When this process, or the one that it is a rank of, began, as `time.monotonic` tells it."""
