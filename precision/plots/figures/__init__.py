"""The figures of `precision.plots`, each in a module of its own."""
