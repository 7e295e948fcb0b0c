"""Files that are read with care, and written whole."""
