"""`python -m leveret.broker`: the `leveret` command without its script."""

import sys

from .cli import main

sys.exit(main())
