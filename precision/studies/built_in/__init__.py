"""The built-in studies, one a module, with its question, grid, cell and figure."""
