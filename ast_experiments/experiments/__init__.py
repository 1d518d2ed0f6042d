"""Many runs: sweeps, studies and searches."""
