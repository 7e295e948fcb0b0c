"""The entry point of ``python -m precision`` and of the console script."""

from __future__ import annotations

import sys

from precision._support.machine._float_environment import default_environment


def main() -> None:
    """Run the command `precision`, and exit with code 130 if Ctrl-C interrupts it."""
    try:
        _main()
    except KeyboardInterrupt:
        sys.exit(130)


def _main() -> None:
    try:
        from precision.cli._main import command
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        from precision._support._optional_packages import missing_package_message

        sys.exit(missing_package_message(error.name, "cli"))
    with default_environment():
        command(prog_name="precision")


if __name__ == "__main__":
    main()
