"""Sweeps over controller gains: figures, charts, page and theory."""
