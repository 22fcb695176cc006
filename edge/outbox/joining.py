"""Joining: what sealed rows hold becomes the contents of one batch. Pure, but for `main`.

`python -m edge.outbox.joining` does it for `edge.outbox.joiner`, in a process of its own: a request comes in by
standard input, its answer goes out by standard output, until the input ends.

Bounds: MAX_CUT_READINGS a batch, unless a single row holds more; one request at a time, of at most MAX_FRAME_BYTES, as
is its answer.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from edge import interpreter
from groundwork.terminal import log_to_stderr
from wire import codec
from wire.contents import Contents, join
from wire.errors import BadInput

log = logging.getLogger(__name__)

MAX_CUT_READINGS: Final = 100_000  # a fifth of what the codec takes
MAX_FRAME_BYTES: Final = 32 << 20  # rows are at most 1 MiB and a body 4 MiB; more is none of ours
HEAD: Final = struct.Struct(">I")  # how many bytes of msgpack follow


class SealedRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One sealed row: its seqs, the lane's digest after it, its bytes."""

    first_seq: int
    last_seq: int
    digest: bytes
    body: bytes


class Request(msgspec.Struct, frozen=True, array_like=True):
    """Rows of one run that follow each other, and the seq that the cloud has."""

    acked: int
    rows: list[SealedRow]


class JoinedContents(msgspec.Struct, frozen=True, array_like=True):
    """The answer: contents as `codec.encode_contents` writes them, of how many rows, and what stopped it."""

    plain: bytes
    taken: int
    damage: str


def opened(acked: int, rows: Sequence[SealedRow]) -> tuple[Contents, int, str]:
    """What as many rows hold as are readable and fit into a body, how many those are, and what stopped it."""
    try:
        return _read(acked, rows, codec.reopen_row)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):  # one is not as we seal them
        log.exception("a row on the card is not put together like a row; all of this cut are looked at")
        return _read(acked, rows, codec.decode_row)


def _read(acked: int, rows: Sequence[SealedRow], read: Callable[[bytes], Contents]) -> tuple[Contents, int, str]:
    found: list[tuple[int, Contents]] = []
    readings = 0
    damage = ""
    for row in rows:
        try:
            contents = read(row.body)
            contents.fills(row.last_seq - row.first_seq + 1)
            contents.check_sealed()
        except BadInput as error:
            damage = str(error)
            break
        readings += contents.readings
        if found and readings > MAX_CUT_READINGS:
            break
        found.append((row.first_seq - acked - 1, contents))
    return join(found), len(found), damage


def main() -> None:
    """Answer requests until there are no more. A bug ends it: whoever asked does without."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the node, which then ends this
    interpreter.tune()
    interpreter.settled()
    decode = msgspec.msgpack.Decoder(Request).decode
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while len(head := source.read(HEAD.size)) == HEAD.size:
        request = decode(source.read(*HEAD.unpack(head)))
        contents, taken, damage = opened(request.acked, request.rows)
        answer = msgspec.msgpack.encode(JoinedContents(codec.encode_contents(contents), taken, damage))
        sink.write(HEAD.pack(len(answer)) + answer)
        sink.flush()


if __name__ == "__main__":
    log_to_stderr(logging.WARNING)
    with contextlib.suppress(BrokenPipeError):  # the node is gone
        main()
