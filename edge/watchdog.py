"""Watchdog of the node: what nothing but a new process brings back is a commit, an answer of the card, the beginning
or end of a life, and the end of drivers that do not end. No device and no city is among it: lines, uplink and downlink
begin anew by themselves.

Bounds: HUNG_S for a card; the others are their parts' own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from groundwork.last_words import Ring
from groundwork.liveness import Late, Part
from groundwork.systemd import Notify
from groundwork.watchdog import Watchdog

HUNG_S: Final = 30.0  # a card that has not answered for so long: systemd may end the node, which starts without it
COMMIT: Final = "commit"
CARD: Final = "card"
LAST_WORDS: Final = "last-words.json"  # beside the socket, which is in memory where systemd has made its directory


class NodeWatchdog(Watchdog):
    """One for a process, over all lives of its node."""

    def __init__(self, systemd: Notify, socket: Path, *, ring: Ring) -> None:
        super().__init__(systemd, socket.with_name(LAST_WORDS), ring=ring)
        self.commit: Part = self.part(COMMIT)
        self.card: Part = self.part(CARD)  # while it is opened or closed
        self.life: Part = self.part("life")  # while one begins or ends


def hung(stuck_s: Callable[[], float]) -> Callable[[], Late | None]:
    """Says that the card is late, by how long it has not answered."""

    def late() -> Late | None:
        return Late(CARD, "an answer", for_s) if (for_s := stuck_s()) >= HUNG_S else None

    return late
