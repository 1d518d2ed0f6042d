"""Reading runs: control quality, reports and comparisons, from files alone."""
