"""Studies: methods x seeds by protocol, each method beside baselines at its own cost."""
