"""`lamplighter-edge` that gives its card up, and tries it again, within seconds: for tests of cards that fail."""

from __future__ import annotations

import sys

import edge.ending
import edge.health
import edge.outbox.storage
import edge.watchdog
from edge.cli import main

edge.outbox.storage.Storage.__init__.__kwdefaults__.update(open_s=1.0, retry_s=1.0)  # type: ignore[union-attr]
edge.outbox.storage.REFUSED_S = 2.0  # type: ignore[misc]
edge.outbox.storage.CLOSE_S = 1.0  # type: ignore[misc]
edge.health.SLOW_S = 1.0  # type: ignore[misc]
edge.watchdog.HUNG_S = 2.0  # type: ignore[misc]
edge.ending.END_S = 2.0  # type: ignore[misc]

if __name__ == "__main__":
    sys.exit(main())
