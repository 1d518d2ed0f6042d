"""Studies: methods, seeds and baselines."""
