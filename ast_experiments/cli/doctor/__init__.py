"""`ast-doctor`: checks of data and machine."""
