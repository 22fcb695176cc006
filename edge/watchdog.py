"""Watchdog of the node: what nothing but a new process brings back is a commit, an answer of the card, the beginning
or end of a life, and the end of drivers that do not end. No device and no city is among it: lines, uplink and downlink
begin anew by themselves.

For a card that hangs and an event loop that does not turn the process ends whenever that is so; for the others at most
once in APART_S, and in between health says what is stuck.

Bounds: HUNG_S for a card; the others are their parts' own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from groundwork.last_words import Ring
from groundwork.liveness import Late, Part
from groundwork.marker import Marker
from groundwork.seldom import Seldom
from groundwork.systemd import Notify
from groundwork.watchdog import Watchdog

HUNG_S: Final = 30.0  # a card that has not answered for so long: systemd may end the node, which starts without it
COMMIT: Final = "commit"
CARD: Final = "card"
APART_S: Final = 3_600.0
ENDED: Final = "ended-for-a-part.json"
RUNS: Final = "runs.json"
LAST_WORDS: Final = "last-words.json"  # beside the socket, which is in memory where systemd has made its directory


class NodeWatchdog(Watchdog):
    """One for a process, over all lives of its node."""

    def __init__(self, systemd: Notify, socket: Path, *, ring: Ring, boot: int) -> None:
        """`socket` lies where all that it keeps lies; `boot` is of the machine."""
        seldom = Seldom(socket.with_name(ENDED), APART_S, boot)
        super().__init__(systemd, socket.with_name(LAST_WORDS), ring=ring, seldom=seldom)
        self.marker = Marker(socket.with_name(RUNS), boot)
        self.commit: Part = self.part(COMMIT)
        self.card: Part = self.part(CARD)  # while it is opened or closed
        self.life: Part = self.part("life")  # while one begins or ends

    def at_once(self, late: Late) -> bool:
        """The card: the next process does without it where it hangs."""
        return late.part == CARD


def hung(stuck_s: Callable[[], float]) -> Callable[[], Late | None]:
    """Says that the card is late, by how long it has not answered."""

    def late() -> Late | None:
        return Late(CARD, "an answer", for_s) if (for_s := stuck_s()) >= HUNG_S else None

    return late
