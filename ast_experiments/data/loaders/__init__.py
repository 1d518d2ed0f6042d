"""From sample ids to batches on the training device."""
