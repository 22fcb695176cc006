"""`python -m firmware_sim` is the command `firmware-sim`."""

import sys

from firmware_sim.cli import main

sys.exit(main())
