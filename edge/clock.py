"""The node's clock: UTC microseconds that go back only with a ClockFix, and whether they can be believed.

While the kernel says that it is synchronised (NTP, a GPS, a real-time clock set by either), its time is taken.
Before that, time is estimated: from the greatest time that the node has ever written down, going on by the monotonic
clock. It is never 1970. When true time becomes known, from the kernel or from the cloud, a `ClockFix` says by how
much this boot's estimates were off; entries never change.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Final

from wire.entries import ClockFix
from wire.sample import Clock

STA_UNSYNC: Final = 0x0040  # adjtimex(2), <linux/timex.h>
DRIFT_US: Final = 500_000  # how far a clock set by the cloud may drift before it is set again
EARLIEST_US: Final = 1_767_225_600_000_000  # 2026-01-01: this software is not older
SERVER_ERROR_MAX_US: Final = 2_000_000  # an answer that took longer than this says too little about the time


def kernel_synced() -> bool:
    """Whether the kernel holds its clock to be synchronised (adjtimex(2))."""
    state = (ctypes.c_char * 256)()  # struct timex is 208 bytes on 64-bit Linux; modes = 0 only reads
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.adjtimex(state) < 0:
        return False
    status = ctypes.c_int.from_buffer(state, 40)  # modes (4+4), offset, freq, maxerror, esterror (8 each), status
    return not status.value & STA_UNSYNC


def kernel_boot() -> int:
    """A number for this boot of the machine: its processes share one monotonic clock."""
    text = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big") >> 1


def monotonic_us() -> int:
    """Time since boot, suspended or not."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


class NodeClock:
    """Call it for (UTC microseconds, whose they are)."""

    def __init__(
        self,
        *,
        last_known_us: int,
        trust_system: bool = False,
        wall_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        monotonic_us: Callable[[], int] = monotonic_us,
        synced: Callable[[], bool] = kernel_synced,
        boot: Callable[[], int] = kernel_boot,
    ) -> None:
        self._wall_us, self._monotonic_us = wall_us, monotonic_us
        self._synced: Callable[[], bool] = (lambda: True) if trust_system else synced
        self._boot = boot()
        self._last_us = 0
        if self._synced() and wall_us() >= EARLIEST_US:
            self.clock = Clock(self._boot, synced=True)
            self._base_us: int | None = None
        else:
            self.clock = Clock(self._boot, synced=False)
            self._base_us = max(wall_us(), last_known_us, EARLIEST_US) - monotonic_us()

    def __call__(self) -> tuple[int, Clock]:
        """Now. Never less than before, not even when the system's clock is set back."""
        now = self._wall_us() if self._base_us is None else self._base_us + self._monotonic_us()
        self._last_us = max(self._last_us, now)
        return self._last_us, self.clock

    @property
    def synced(self) -> bool:
        """Whether times can be believed."""
        return self.clock.synced

    def check(self) -> ClockFix | None:
        """Look whether the kernel has found the time since; call now and then."""
        if self._base_us is None or not self._synced() or self._wall_us() < EARLIEST_US:
            return None
        fix = None if self.synced else self._fix(self._wall_us(), error_us=100_000)
        self._base_us = None
        return fix

    def hear(self, server_us: int, took_us: int) -> ClockFix | None:
        """The cloud's time, from an answer that took so long: only while nothing better is known.

        Afterwards it is listened to again and again, for a crystal drifts by seconds a day.
        """
        if self._base_us is None or took_us > SERVER_ERROR_MAX_US or server_us < EARLIEST_US:
            return None
        true_us = server_us + took_us // 2
        if self.synced and abs(true_us - self()[0]) < DRIFT_US + took_us // 2:
            return None
        fix = None if self.synced else self._fix(true_us, error_us=took_us // 2 + 1000)
        self._base_us = true_us - self._monotonic_us()
        return fix

    def _fix(self, true_us: int, error_us: int) -> ClockFix:
        assert self._base_us is not None
        fix = ClockFix(boot=self._boot, offset_us=true_us - (self._base_us + self._monotonic_us()), error_us=error_us)
        self.clock = Clock(self._boot, synced=True)
        # Time may step back here: times that were estimated are marked so, and the fix says by how much.
        self._last_us = 0
        return fix
