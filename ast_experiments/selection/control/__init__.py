"""Controllers: they move a threshold so that a target fraction of samples is trained."""
