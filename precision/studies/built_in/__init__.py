"""The built-in studies, one a module: its question, grid, cell and figure."""
