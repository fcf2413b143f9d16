"""``python -m my3dis`` is the command ``my3dis``."""

import sys

from my3dis.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
