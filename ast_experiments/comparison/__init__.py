"""Comparison of runs: arms, statistics, verdicts, page."""
