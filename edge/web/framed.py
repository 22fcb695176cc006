"""Framed: the last frames of a device as a page shows them: hex, in pieces, each with what it is. Pure.

Bounds: MAX_FRAMES frames, the newest; MAX_PIECES pieces of one, SHOWN_BYTES of a piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from drivers.frames import Frame
from wire.time import Utc

MAX_FRAMES: Final = 16
MAX_PIECES: Final = 40
SHOWN_BYTES: Final = 48


@dataclass(frozen=True)
class FramePart:
    """Some bytes of a frame; `name` is empty where nobody has named them."""

    octets: str
    name: str


@dataclass(frozen=True)
class FramedLine:
    """A frame. `text` is what it reads as, where it is plain text."""

    time_us: Utc
    out: bool
    about: str
    pieces: Sequence[FramePart]
    text: str


def shown(frames: Sequence[Frame]) -> list[FramedLine]:
    """The newest frames, the newest first."""
    return [
        FramedLine(f.time_us, f.direction == "out", f.about, _pieces(f)[:MAX_PIECES], _text(f.data))
        for f in reversed(frames[-MAX_FRAMES:])
    ]


def _text(data: bytes) -> str:
    """A payload that people can read needs no hex."""
    if not data.isascii() or not (text := data.decode()).isprintable() or len(data) < 4:
        return ""
    return text


def _pieces(frame: Frame) -> list[FramePart]:
    found: list[FramePart] = []
    at = 0
    for field in sorted(frame.fields, key=lambda f: f.first):
        if field.first < at or field.length < 1:
            continue  # a part of one that was told: several points may share a register
        if field.first > at:
            found.append(FramePart(_hex(frame.data[at : field.first]), ""))
        at = field.first + field.length
        found.append(FramePart(_hex(frame.data[field.first : at]), field.name))
    if at < len(frame.data):
        found.append(FramePart(_hex(frame.data[at:]), ""))
    return found


def _hex(data: bytes) -> str:
    return data[:SHOWN_BYTES].hex(" ") + (" …" if len(data) > SHOWN_BYTES else "")
