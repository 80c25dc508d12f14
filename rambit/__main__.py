"""``python -m rambit``: the command line."""

import sys

from rambit.cli import main

if __name__ == "__main__":
    sys.exit(main())
