"""Searching for settings: `ast-tune`."""
