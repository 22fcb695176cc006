"""The node's clock: UTC microseconds that go back only with a ClockFix, and whether they can be believed.

While the kernel says that it is synchronised (NTP, a GPS, a real-time clock set by either), its time is taken.
Before that, time is estimated: from the greatest time that the node has ever written down, going on by the monotonic
clock. It is never 1970. When true time becomes known, from the kernel or from the cloud, a `ClockFix` says by how
much this boot's estimates were off; entries never change.

A synchronised clock that jumps by more than JUMP_US is not followed at once: time goes on by the monotonic clock,
marked as estimated, under a boot number of its own. It ends with a `ClockFix` in any case: when the clock is back where
it was counted to be (an offset near 0), when the cloud confirms the new time, or when it has stood for CONFIRM_US.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec

from wire.entries import ClockFix
from wire.sample import Clock
from wire.time import Micros, Mono, Utc

STA_UNSYNC: Final = 0x0040  # adjtimex(2), <linux/timex.h>
DRIFT_US: Final = Micros(500_000)  # how far a clock set by the cloud may drift before it is set again
EARLIEST_US: Final = Utc(1_767_225_600_000_000)  # 2026-01-01: this software is not older
JUMP_US: Final = Micros(10_000_000)  # what NTP slews or steps in everyday life is less
CONFIRM_US: Final = Micros(60_000_000)
SERVER_ERROR_MAX_US: Final = Micros(2_000_000)  # an answer that took longer than this says too little about the time


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


def utc_us() -> Utc:
    """What the machine's clock shows, believed or not."""
    return Utc(time.time_ns() // 1000)


def monotonic_us() -> Mono:
    """Time since boot, suspended or not."""
    return Mono(time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000)


class _Jump(msgspec.Struct):
    """By how much the system's clock is off what was counted, since when on the monotonic clock, and the boot that it
    interrupted."""

    off_us: Micros
    since_us: Mono
    boot: int


class NodeClock:
    """Call it for (UTC microseconds, whose they are)."""

    def __init__(
        self,
        *,
        last_known_us: Utc,
        trust_system: bool = False,
        wall_us: Callable[[], Utc] = utc_us,
        monotonic_us: Callable[[], Mono] = monotonic_us,
        synced: Callable[[], bool] = kernel_synced,
        boot: Callable[[], int] = kernel_boot,
    ) -> None:
        self._wall_us, self._monotonic_us = wall_us, monotonic_us
        self._synced: Callable[[], bool] = (lambda: True) if trust_system else synced
        self._boot = boot()
        self._last_us = Utc(0)
        self._jump: _Jump | None = None
        self.jumps = 0
        if self._synced() and wall_us() >= EARLIEST_US:
            self.clock = Clock(self._boot, synced=True)
            self._base_us: Micros | None = None  # of the monotonic clock: how far it is behind UTC
            self._seen = (wall_us(), monotonic_us())
        else:
            self._seen = (Utc(0), Mono(0))
            self.clock = Clock(self._boot, synced=False)
            self._base_us = Micros(max(wall_us(), last_known_us, EARLIEST_US) - monotonic_us())

    def __call__(self) -> tuple[Utc, Clock]:
        """Now. Never less than before, but for what a `ClockFix` says."""
        wall_us, mono_us = self._wall_us(), self._monotonic_us()
        if self._base_us is None:
            off_us = (wall_us - self._seen[0]) - (mono_us - self._seen[1])
            if abs(off_us) > JUMP_US:
                self._doubt(off_us, mono_us)
            else:
                self._seen = (wall_us, mono_us)
        now = wall_us if self._base_us is None else Utc(self._base_us + mono_us)
        self._last_us = max(self._last_us, now)
        return self._last_us, self.clock

    @property
    def jump_us(self) -> Micros | None:
        """By how much the system's clock has jumped, while that is not confirmed."""
        return None if self._jump is None else self._jump.off_us

    @property
    def synced(self) -> bool:
        """Whether times can be believed."""
        return self.clock.synced

    def check(self) -> ClockFix | None:
        """Look whether the kernel has found the time since, or has lost it; call every few seconds."""
        self()  # a jump is noticed here, where nothing else asks for the time
        if self._jump is not None:
            return self._look_at(self._jump)
        if self._base_us is None or not self._synced() or self._wall_us() < EARLIEST_US:
            return None
        fix = None if self.synced else self._fix(self._wall_us(), error_us=Micros(100_000))
        self._follow()
        return fix

    def hear(self, server_us: Utc, took_us: Micros) -> ClockFix | None:
        """The cloud's time, from an answer that took so long: only while nothing better is known.

        Afterwards it is listened to again and again, for a crystal drifts by seconds a day.
        """
        if self._base_us is None or took_us > SERVER_ERROR_MAX_US or server_us < EARLIEST_US:
            return None
        true_us = server_us + took_us // 2
        if self._jump is not None:
            return self._weigh(self._jump, true_us)
        if self.synced and abs(true_us - self()[0]) < DRIFT_US + took_us // 2:
            return None
        fix = None if self.synced else self._fix(true_us, error_us=took_us // 2 + Micros(1000))
        self._base_us = Micros(true_us - self._monotonic_us())
        return fix

    def _doubt(self, off_us: Micros, mono_us: Mono) -> None:
        """Go on by the monotonic clock from the last time that was believed."""
        self.jumps += 1
        self._base_us = Micros(self._seen[0] - self._seen[1])
        self._jump = _Jump(off_us=off_us, since_us=mono_us, boot=self._boot)
        # A fix goes for all that was estimated in its boot: these times must not be corrected by that of others.
        number = blake2b(f"{self._boot} {self._seen} {self.jumps}".encode(), digest_size=8).digest()
        self._boot = int.from_bytes(number, "big") >> 1
        self.clock = Clock(self._boot, synced=False)

    def _look_at(self, jump: _Jump) -> ClockFix | None:
        """Whether the clock is back, or has stood at its new time for long enough."""
        assert self._base_us is not None
        mono_us = self._monotonic_us()
        off_us = self._wall_us() - Utc(self._base_us + mono_us)
        if abs(off_us - jump.off_us) > JUMP_US and abs(off_us) > JUMP_US:
            jump.off_us, jump.since_us = off_us, mono_us  # it has jumped again
        back = abs(off_us) <= JUMP_US
        if not self._synced() or self._wall_us() < EARLIEST_US or not (back or mono_us - jump.since_us >= CONFIRM_US):
            return None
        return self._settle(jump)

    def _weigh(self, jump: _Jump, true_us: Utc) -> ClockFix | None:
        """The cloud knows which of the two is right, as far as it goes."""
        assert self._base_us is not None
        mono_us = self._monotonic_us()
        if abs(true_us - self._wall_us()) <= JUMP_US and self._synced():
            return self._settle(jump)
        if abs(true_us - Utc(self._base_us + mono_us)) <= JUMP_US:
            jump.since_us = mono_us  # two against one: the clock has to stand for longer
        return None

    def _settle(self, jump: _Jump) -> ClockFix:
        fix = self._fix(self._wall_us(), error_us=Micros(100_000))
        self._boot = jump.boot
        self.clock = Clock(self._boot, synced=True)
        self._jump = None
        self._follow()
        return fix

    def _follow(self) -> None:
        """Go by the system's clock from here on."""
        self._base_us = None
        self._seen = (self._wall_us(), self._monotonic_us())

    def _fix(self, true_us: Utc, error_us: Micros) -> ClockFix:
        assert self._base_us is not None
        fix = ClockFix(
            boot=self._boot, offset_us=true_us - Utc(self._base_us + self._monotonic_us()), error_us=error_us
        )
        self.clock = Clock(self._boot, synced=True)
        # Time may step back here: times that were estimated are marked so, and the fix says by how much.
        self._last_us = Utc(0)
        return fix
