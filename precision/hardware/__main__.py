"""The command ``python -m precision.hardware``, which compares the emulator with this machine's GPU."""

import sys

from precision.hardware._verification import main

if __name__ == "__main__":
    sys.exit(main())
