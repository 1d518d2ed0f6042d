"""Small images, kept in memory as uint8 arrays."""
