"""Images of any size that stay encoded until a batch needs them."""
