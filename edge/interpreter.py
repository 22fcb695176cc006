"""How Python itself is set for a node: what arrives is answered at once, also while a backlog is drained beside it.

The thread that joins rows for the uplink holds the interpreter for SWITCH_S at a time and no longer. The garbage
collector passes over what lives for ever only once, before the work begins; rows and bodies make many lists and few
cycles, so it looks for those seldom.
"""

from __future__ import annotations

import gc
import sys
from typing import Final

SWITCH_S: Final = 0.0002  # of Python's own 5 ms an arriving message would wait most
GARBAGE: Final = (20_000, 50, 1_000)


def tune() -> None:
    """At the start of the process."""
    sys.setswitchinterval(SWITCH_S)
    gc.set_threshold(*GARBAGE)


def settled() -> None:
    """Everything is imported and open: what is there now will stay."""
    gc.collect()
    gc.freeze()
