"""Settings that make training cheaper or faster without choosing samples."""

LEVERS = ("recipe.progressive_resizing", "recipe.batch_growth")
"""An arm of a study may have them, and its baselines then have them too. Each is a mapping, or null."""
