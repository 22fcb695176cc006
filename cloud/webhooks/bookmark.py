"""Bookmark: up to where a webhook has had the feed, as a file of its own. Kept after the other end has taken it: what
was sent between the last bookmark and a crash is sent again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

MAX_BYTES: Final = 4_096


class Bookmark(msgspec.Struct, frozen=True):
    """A cursor of the feed, empty for its beginning from now; the address is for who reads the file."""

    cursor: str
    url: str


def read(path: Path) -> Bookmark | None:
    """The bookmark; None where there is none.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged; delete it, and the webhook goes on with what comes from then on.
    """
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(MAX_BYTES), type=Bookmark)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise ValueError(f"{path} is damaged; delete it, and that webhook begins with what comes then") from error
