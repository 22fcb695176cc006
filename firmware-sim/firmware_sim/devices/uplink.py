"""What a model that publishes JSON promises to the MQTT side, and how its firmware prints numbers.

Promises: a number is printed with the fixed count of decimals its data sheet shows (`43.0`, never `43`), and
the ledger holds what a JSON reader makes of exactly that text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from firmware_sim.ledger import Value


@dataclass(frozen=True)
class Message:
    """One publish: the payload, and what is in it for a reader."""

    payload: bytes
    points: Mapping[str, Value]


class Publisher(Protocol):
    """A model that publishes."""

    topic: str

    def measure(self) -> dict[str, Value]:
        """All values now, except the message counter."""
        ...

    def message(self, n: int, values: Mapping[str, Value]) -> Message:
        """The message with this number."""
        ...


def decimals(value: Value, places: int) -> tuple[str, float]:
    """The text of a number, and the number that the text is."""
    text = f"{float(value):.{places}f}"
    if float(text) == 0.0:
        text = text.removeprefix("-")  # firmware prints no negative zero
    return text, float(text)
