"""Texts as devices send them: the encodings that profiles may name, and what stands for no text at all.

Bytes that the encoding does not know are no text: null with the reason, never a text with marks in it. A field is as
long as its memory: what follows the first NUL, and any padding of FF at the end, is no part of the text; a field of FF
throughout is memory that was never written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from drivers.errors import Refused
from drivers.readings import Finish
from wire.sample import Value, bad

Encoding = Literal["utf-8", "latin-1", "cp1252"]


class NoText(ValueError):
    """The bytes are no text in this encoding, in words."""


def text_of(data: bytes, encoding: Encoding) -> str:
    """The text that these bytes are.

    Raises:
        NoText.
    """
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise NoText(f"byte {error.start} is no text in {encoding}; encoding names another") from error


def field_of(data: bytes, encoding: Encoding) -> str | None:
    """The text in a field of fixed length, None where nothing was ever written there.

    Raises:
        NoText.
    """
    if data and not data.strip(b"\xff"):
        return None
    return text_of(data.split(b"\0")[0].rstrip(b"\xff"), encoding).strip()


def read_as(encoding: Encoding, meant: Finish) -> Callable[[bytes], tuple[Value, str | None]]:
    """From the bytes of a field to a point's value and quality; `meant` is what is done with its text."""

    def text(raw: bytes) -> tuple[Value, str | None]:
        try:
            found = field_of(raw, encoding)
        except NoText as error:
            return None, bad(str(error))
        return meant(found) if found is not None else (None, bad("the device says that it has no value"))

    return text


def written(text: str, encoding: Encoding, room: int, name: str) -> bytes:
    """The bytes of a text for a field with room for so many, of the point of this name.

    Raises:
        drivers.errors.Refused: it does not fit.
    """
    try:
        data = text.encode(encoding)
    except UnicodeEncodeError as error:
        raise Refused(f"{name} takes texts in {encoding}, not {text!r}") from error
    if len(data) > room:
        raise Refused(f"{name} takes at most {room} bytes of text")
    return data
