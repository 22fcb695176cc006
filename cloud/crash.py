"""Named points at which the fault tests kill the aggregator. Off unless the environment says otherwise.

    LAMPLIGHTER_CRASH_AT=ingest.before_commit       kill -9 the first time that point is reached
    LAMPLIGHTER_CRASH_AT=ingest.after_commit:7      … the seventh time

Points: `ingest.before_commit` (batches are applied, nothing is durable), `ingest.after_commit` (durable, nobody has
been told), `compact.before_chunked`, `compact.chunked`, `compact.before_commit`, `compact.after_commit`; of whoever
folds history `history.followed`, `history.parts`, `history.before_rename`, `history.renamed`, `history.written`,
`history.said`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

VARIABLE = "LAMPLIGHTER_CRASH_AT"

Crash = Callable[[str], None]


def never(_point: str) -> None:
    """Do nothing, as in every process that is not under test."""


def from_environment(environ: dict[str, str]) -> Crash:
    """What to call at each named point."""
    wanted, _, count = environ.get(VARIABLE, "").partition(":")
    if not wanted:
        return never
    left = int(count or 1)

    def reached(point: str) -> None:
        nonlocal left
        if point == wanted:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return reached
