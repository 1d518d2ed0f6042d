"""Networks and how they are built."""
