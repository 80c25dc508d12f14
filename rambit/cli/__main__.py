"""``python -m rambit.cli``: the same as ``rambit``."""

import sys

from rambit.cli import main

sys.exit(main())
