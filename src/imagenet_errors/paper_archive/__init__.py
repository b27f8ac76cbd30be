"""The paper's own files, read and written."""
