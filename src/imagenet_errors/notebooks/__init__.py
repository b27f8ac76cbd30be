"""What the notebooks in `src/` show: each cell calls one function. Missing data is a short box, not a traceback."""
