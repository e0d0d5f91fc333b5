"""``python -m ignition.drill``."""

import sys

from ignition.drill.command import main

sys.exit(main())
