"""From predictions that other tools wrote to ours: which column, which class numbering, which images."""
