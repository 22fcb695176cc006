"""Reasons: why something could not be opened or reached, in the system's own words.

Libraries wrap errors in each other, and asyncio joins those of several addresses into one text: the number of the
system's error is looked for wherever it stands, and told as the system tells it, with what it means here where that
is not plain.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
from collections.abc import Mapping
from typing import Final

HINTS: Final[Mapping[int, str]] = {
    errno.EACCES: "is the user of this service allowed to, by its groups for instance?",
    errno.EPERM: "is the user of this service allowed to, by its groups for instance?",
    errno.EAGAIN: "another program has it open",
    errno.EBUSY: "another program has it open",
    errno.ENOTTY: "it is no serial port",
    errno.ECONNREFUSED: "nothing listens there",
    errno.ENOENT: "there is nothing of this name",
    errno.ENODEV: "the adapter is not plugged in",
    errno.ENXIO: "the adapter is not plugged in",
}
_NUMBERS: Final = re.compile(r"\[Errno (\d+)\]|\((\d+), '")


def why(error: BaseException) -> str:
    """What went wrong, in words; never empty, and the same whenever the same goes wrong."""
    for cause in _causes(error):
        match cause:
            case ssl.SSLCertVerificationError():
                return f"its certificate is not trusted: {cause.verify_message}"
            case ssl.SSLError():
                return f"TLS fails: {cause.reason or cause.strerror or cause}"
            case socket.gaierror():  # its numbers are of another kind
                return f"{cause.strerror or cause}: is the name right?"
            case OSError() if cause.errno:
                return _words(cause.errno)
            case _ if numbers := _NUMBERS.findall(str(cause)):
                return ", ".join(dict.fromkeys(_words(int(a or b)) for a, b in numbers))
            case _:
                pass
    if isinstance(error, TimeoutError) and not str(error):
        return "no answer in time"
    return str(error) or type(error).__name__


def _words(number: int) -> str:
    hint = HINTS.get(number)
    return os.strerror(number) + (f" ({hint})" if hint else "")


def _causes(error: BaseException) -> list[BaseException]:
    """An error and what it came from, the outermost first; five at most."""
    found: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and len(found) < 5:
        found.append(at)
        at = at.__cause__ or at.__context__
    return found
