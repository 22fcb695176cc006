"""`lamplighter-cloud` some part of which never returns once a file is there, and whose watchdog is impatient: for tests
of what becomes of such an aggregator. LATE names the file; it holds the word for the part: `loop` or `writer`."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import cloud.sqlite.writer
import groundwork.last_words
from cloud.cli import main
from cloud.sqlite.writer import Writer
from groundwork.watchdog import Watchdog

LATE = Path(os.environ["LATE"])

Watchdog.__init__.__kwdefaults__["loop_s"] = 1.0  # type: ignore[index]
groundwork.last_words.LOOK_S = 0.2  # type: ignore[misc]
cloud.sqlite.writer.GROUP_S = 1.0  # type: ignore[misc]

_pat, _try = Watchdog.pat, Writer._try


def hang(word: str) -> None:
    if LATE.exists() and LATE.read_text() == word:
        time.sleep(3600)


def pat(self: Watchdog) -> None:
    hang("loop")
    _pat(self)


def try_(self: Writer, group: Any) -> bool:
    hang("writer")
    return _try(self, group)


Watchdog.pat = pat  # type: ignore[method-assign]
Writer._try = try_  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main())
