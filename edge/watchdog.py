"""Watchdog of the node: what nothing but a new process brings back is a commit, an answer of the card, and the end of
drivers that do not end. No device and no city is among it: lines, uplink and downlink begin anew by themselves.

Bounds: HUNG_S for a card; the others are their parts' own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from groundwork.last_words import Ring
from groundwork.liveness import Late, Part
from groundwork.systemd import Notify
from groundwork.watchdog import Watchdog

HUNG_S: Final = 30.0  # a card that has not answered for so long: systemd may end the node, which starts without it
LAST_WORDS: Final = "last-words.json"  # beside the socket, which is in memory where systemd has made its directory


class NodeWatchdog(Watchdog):
    """One for a node."""

    def __init__(
        self,
        systemd: Notify,
        socket: Path,
        *,
        ring: Ring,
        card_stuck_s: Callable[[], float],
        drivers: Callable[[], Late | None],
    ) -> None:
        """`drivers` says whether too many do not end."""
        super().__init__(systemd, socket.with_name(LAST_WORDS), ring=ring)
        self._card_stuck_s, self._drivers = card_stuck_s, drivers
        self.commit: Part = self.part("commit")

    def late(self) -> Sequence[Late]:
        """See `Watchdog.late`."""
        late = [*super().late()]
        if (stuck_s := self._card_stuck_s()) >= HUNG_S:
            late.append(Late("card", "an answer", stuck_s))
        if (drivers := self._drivers()) is not None:
            late.append(drivers)
        return late
