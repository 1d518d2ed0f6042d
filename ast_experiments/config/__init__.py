"""The command line: composing, checking and resolving an experiment's settings."""
