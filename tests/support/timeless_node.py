"""`lamplighter-edge` on a machine whose kernel has not found the time, and which makes whoever guesses wait sooner: for
tests of what its pages say then."""

from __future__ import annotations

import sys

import edge.clock
import edge.visit.guesses
from edge.cli import main

edge.clock.NodeClock.__init__.__kwdefaults__["synced"] = lambda: False  # type: ignore[index]
edge.visit.guesses.FIRST_S = 2.0  # type: ignore[misc]
edge.visit.guesses.HOLD_S = 0.3  # type: ignore[misc]

if __name__ == "__main__":
    sys.exit(main())
