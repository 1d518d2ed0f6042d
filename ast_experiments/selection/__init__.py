"""Which samples are trained: significance, control, planning, methods. Knows nothing of Hydra, W&B or files."""
