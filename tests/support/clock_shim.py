"""A clock of a process's own that can be set, forth and back, while it runs: LD_PRELOAD and a file."""

from __future__ import annotations

from pathlib import Path

SHIM = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
/* CLOCK_AHEAD names a file of 8 bytes: by how many whole seconds the clock is ahead; less than 0: behind. */
static volatile int64_t *ahead;
__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("CLOCK_AHEAD");
    int fd = name ? open(name, O_RDONLY) : -1;
    if (fd < 0) return;
    void *at = mmap(0, 8, PROT_READ, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED) ahead = at;
    close(fd);
}
int clock_gettime(clockid_t id, struct timespec *found) {
    int result = syscall(SYS_clock_gettime, id, found);
    if (!result && ahead && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) found->tv_sec += *ahead;
    return result;
}
int gettimeofday(struct timeval *restrict found, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    found->tv_sec = now.tv_sec;
    found->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *found) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (found) *found = now.tv_sec;
    return now.tv_sec;
}
"""


class OwnClock:
    """The clock of one process; `environment` is what it is started with."""

    def __init__(self, file: Path, shim: Path) -> None:
        self._file = file
        file.write_bytes(bytes(8))
        self.environment = {"LD_PRELOAD": str(shim), "CLOCK_AHEAD": str(file)}

    def set(self, ahead_s: int) -> None:
        """It jumps: this far ahead of true time."""
        with self._file.open("r+b") as file:
            file.write(ahead_s.to_bytes(8, "little", signed=True))
