"""A short training on the user's data that says whether choosing samples will pay there."""
