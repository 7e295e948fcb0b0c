"""``python -m precision.hardware``: compare the emulator with this machine's GPU on fresh operands."""

import sys

from precision.hardware._verification import main

if __name__ == "__main__":
    sys.exit(main())
