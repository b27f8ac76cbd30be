"""One module for each kind of file: its record, how it is read, written and checked."""
