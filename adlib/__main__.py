"""`python -m adlib`, for launchers that start a module: `accelerate launch -m adlib train ...`."""

import sys

from adlib.cli import main

sys.exit(main())
