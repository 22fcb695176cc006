"""Lock: one node process a card. A process that has been killed and hangs in the card holds its lock for ever.

flock(2) goes with its process; but one that waits inside the kernel for a card that never answers cannot die, not even
by SIGKILL, and keeps its lock. Whoever comes after it must know it from a node that runs: the kernel's list of locks
names the holder, and its status whether it is about to die.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
from pathlib import Path
from typing import Final

_SIGKILL_BIT: Final = 1 << 8
_HELD: Final = re.compile(r"^\d+: FLOCK\s+\S+\s+WRITE (\d+) ([0-9a-f]+):([0-9a-f]+):(\d+) ", re.MULTILINE)


class InUse(RuntimeError):
    """A node that runs has the card."""


class HolderDying(OSError):
    """The lock is held by a process that is dead but for the card that it waits for."""


def take(path: Path) -> int:
    """Take the lock; the descriptor that holds it.

    Raises:
        InUse: a node process has it. HolderDying: see there. OSError: the file cannot be opened.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = _holder(os.fstat(fd))
        os.close(fd)
        if holder is not None and dying(holder):
            raise HolderDying(errno.EBUSY, f"process {holder} was killed and hangs in the card") from error
        raise InUse(f"{path.parent} is in use by another node process") from error
    except OSError:
        os.close(fd)
        raise
    return fd


def _holder(file: os.stat_result) -> int | None:
    """Who holds a lock on this file, by /proc/locks; None where that does not tell (another PID namespace)."""
    try:
        text = Path("/proc/locks").read_text()
    except OSError:
        return None
    wanted = os.major(file.st_dev), os.minor(file.st_dev), file.st_ino
    for pid, major, minor, inode in _HELD.findall(text):
        if (int(major, 16), int(minor, 16), int(inode)) == wanted and int(pid) > 0:
            return int(pid)
    return None


def dying(pid: int) -> bool:
    """Whether a process is a zombie, or has a SIGKILL pending that it does not come to (proc(5))."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        tasks = [t.read_text() for t in Path(f"/proc/{pid}/task").glob("*/status")]
    except OSError:
        return False  # it has gone meanwhile, or is not ours to look at
    return any(_doomed(text) for text in (status, *tasks))


def _doomed(status: str) -> bool:
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    pending = int(fields.get("SigPnd", "0"), 16) | int(fields.get("ShdPnd", "0"), 16)
    return fields.get("State", "").strip()[:1] in ("Z", "X") or bool(pending & _SIGKILL_BIT)
