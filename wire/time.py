"""Time: an instant says by which clock it was read, and a duration is no instant. All are whole microseconds.

    Utc       since 1970-01-01T00:00:00Z, by the clock of whoever read it: what crosses the wire, and what people read
    Mono      since boot, suspended or not (CLOCK_BOOTTIME): never set, and compared only within one boot
    AxisTime  by the axis that rules go by (`edge.acting.axis`): begins as UTC, goes on as Mono, and is never set
    Micros    how long

At run time each is `int`, so that a reading costs no more. To the type checker (`time.pyi`) they are four types: two
instants of one clock give a duration, an instant and a duration an instant; whatever mixes clocks is an error. Seconds
are floats, and their names end in `_s`.
"""

Utc = int
Mono = int
AxisTime = int
Micros = int


def micros(seconds: float) -> Micros:
    """So many seconds, to the nearest microsecond."""
    return round(seconds * 1e6)
