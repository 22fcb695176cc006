"""Terminal: what others have named is shown, never obeyed.

A device's name, a token's note, a reason from the wire may hold what a terminal takes for orders (ECMA-48 control
sequences begin with ESC or a C1 control), what turns the order of letters round (Unicode bidirectional controls, UAX
#9, "Trojan Source"), or line ends that forge a line of a log. All of it is written as an escape, as Python's repr has
it. Pure but for `Formatter` and `guard`.

Bound: none of its own; a text grows at most sixfold.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import TextIOBase
from typing import Any, Final, TextIO, cast

# C0, DEL and C1; soft hyphen and marks without width; line and paragraph separators; bidirectional controls; and
# surrogates, which no terminal's encoding has.
_UNSHOWN: Final = (
    "\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff"
)
_ALL: Final = re.compile(f"[{_UNSHOWN}]")
_BUT_LINES: Final = re.compile(f"(?![\n])[{_UNSHOWN}]")
# What our own verbs write: line ends, the return of a progress bar, colours (SGR, ECMA-48 §8.3.117).
_BUT_OURS: Final = re.compile(f"(?!\x1b\\[[0-9;]*m|[\n\r])[{_UNSHOWN}]")


def shown(text: str) -> str:
    """A text as one line that a terminal obeys in nothing."""
    return _ALL.sub(_escaped, text)


def shown_lines(text: str) -> str:
    """The same for a text whose line ends are ours."""
    return _BUT_LINES.sub(_escaped, text)


def shown_in(value: Any) -> Any:
    """The same for every text within what came as JSON, keys among them."""
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, Mapping):
        return {shown_in(k): shown_in(v) for k, v in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [shown_in(v) for v in cast("Sequence[Any]", value)]
    return value


class Formatter(logging.Formatter):
    """A log of one line a message; only a traceback has several."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's name
        """The line."""
        record.message = shown(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802  logging's name
        """The traceback."""
        return shown_lines(super().formatException(ei))


def log_to_stderr(level: int | str, form: str = "%(levelname)s %(name)s: %(message)s") -> None:
    """Let the root logger write such lines to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(Formatter(form))
    logging.basicConfig(level=level, handlers=[handler])


class _Guarded(TextIOBase):
    """A stream on which only what our own verbs write is obeyed: the net behind `shown`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    def write(self, text: str, /) -> int:
        self._stream.write(_BUT_OURS.sub(_escaped, text))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def writable(self) -> bool:
        return True


@contextmanager
def guard() -> Generator[None]:
    """Within it, what is printed to standard output and standard error is shown and not obeyed."""
    with redirect_stdout(_Guarded(sys.stdout)), redirect_stderr(_Guarded(sys.stderr)):
        yield


def _escaped(found: re.Match[str]) -> str:
    number = ord(found[0])
    common = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(found[0])
    return common or (f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}")
