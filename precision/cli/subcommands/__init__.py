"""The subcommands of `precision`, one a module."""
