"""Reach: an address for a Unix socket, however long its path is.

A socket's address has room for MAX_PATH_BYTES (unix(7)). One with a longer path is reached through its folder, held
open, by the kernel's name for that; the file's own name must fit.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from pathlib import Path
from typing import Final

MAX_PATH_BYTES: Final = 107  # sun_path, without the NUL at its end


@contextlib.contextmanager
def reach(path: Path) -> Generator[str, None, None]:
    """An address by which a socket can be bound or connected to, however long its path is; good within the context.

    Raises:
        OSError: its folder cannot be opened.
    """
    if len(os.fsencode(path)) <= MAX_PATH_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
