"""The ground: batches, distributed ranks, errors. Imports nothing else of the package."""
