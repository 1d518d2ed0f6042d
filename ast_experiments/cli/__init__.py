"""The small commands beside `ast-train`."""
