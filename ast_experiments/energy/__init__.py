"""What a run costs: nominal figures, rows and seconds."""
