"""Disks that fail on demand: a small one that can be filled to the last byte, and one that cannot sync."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

PIECE = bytes(4096)

SHIM = """
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/syscall.h>
/* While the file that FAIL_SYNC names exists, nothing can be synced. */
static int fails(void) { const char *when = getenv("FAIL_SYNC"); return when && !access(when, F_OK); }
int fdatasync(int fd) { if (fails()) { errno = EIO; return -1; } return syscall(SYS_fdatasync, fd); }
int fsync(int fd) { if (fails()) { errno = EIO; return -1; } return syscall(SYS_fsync, fd); }
"""
HANG = """
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>
#include <sys/syscall.h>
/* While the file that HANG names exists, nothing comes back from a card: no write, no sync, no read at a place. */
static void wait(void) { const char *when = getenv("HANG"); while (when && !access(when, F_OK)) usleep(10000); }
int fdatasync(int fd) { wait(); return syscall(SYS_fdatasync, fd); }
int fsync(int fd) { wait(); return syscall(SYS_fsync, fd); }
ssize_t pwrite(int fd, const void *b, size_t n, off_t at) { wait(); return syscall(SYS_pwrite64, fd, b, n, at); }
ssize_t pwrite64(int fd, const void *b, size_t n, off64_t at) { wait(); return syscall(SYS_pwrite64, fd, b, n, at); }
ssize_t pread(int fd, void *b, size_t n, off_t at) { wait(); return syscall(SYS_pread64, fd, b, n, at); }
ssize_t pread64(int fd, void *b, size_t n, off64_t at) { wait(); return syscall(SYS_pread64, fd, b, n, at); }
"""


@contextlib.contextmanager
def mounted(source: str, at: Path, *options: str) -> Iterator[Path]:
    """Mount something; raises CalledProcessError where that is not allowed."""
    at.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", *options, source, str(at)], check=True, capture_output=True, text=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True, capture_output=True)


@contextlib.contextmanager
def small_disk(at: Path) -> Iterator[Path]:
    """A disk of 4 MB; skips the test where none can be mounted."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    try:
        with mounted("tmpfs", at, "-t", "tmpfs", "-o", "size=4m") as path:
            yield path
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no tmpfs can be mounted here: {error.stderr}")


class Ballast:
    """What somebody else writes to the same disk."""

    def __init__(self, disk: Path) -> None:
        self._file = disk / "somebody-elses.log"
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def fill(self) -> None:
        """Take all the room that there is now."""
        with self._file.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(PIECE)

    def keep_full(self) -> None:
        """Take it again and again, so that room which is made is gone at once."""

        def run() -> None:
            while not self._stop.wait(0.002):
                self.fill()

        self.fill()
        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()

    def drop(self) -> None:
        """Give all of it back."""
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._thread = None
        self._file.unlink(missing_ok=True)


def build_shim(directory: Path, gcc: str, text: str = SHIM) -> Path:
    """The library to put into LD_PRELOAD."""
    source, library = directory / "shim.c", directory / "shim.so"
    source.write_text(text)
    subprocess.run([gcc, "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], check=True)
    return library
