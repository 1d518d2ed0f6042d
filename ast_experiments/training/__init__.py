"""The loop, and what a run is built from."""
