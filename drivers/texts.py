"""Texts as devices send them: the encodings that profiles may name, and what stands for no text at all.

Bytes that the encoding does not know are no text: null with the reason, never a text with marks in it. A field is as
long as its memory: what follows the first NUL, and any padding of FF at the end, is no part of the text; a field of FF
throughout is memory that was never written.
"""

from __future__ import annotations

from typing import Final, Literal

Encoding = Literal["utf-8", "latin-1", "cp1252"]
FIELD_SAYS: Final = "how the bytes of a text are to be read"


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
