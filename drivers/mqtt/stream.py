"""Stream: what a broker sends, taken off the socket many packets at a time.

paho asks the kernel four times for each packet and makes a dozen objects of it. Here one read takes up to READ_BYTES.
Publishes at QoS 0 and 1 that carry no properties, as nearly all are, are cut out of it at once; every other packet, and
any that is not put together like that, is given to paho whole and in its turn. So paho stays the owner of the
connection: it answers, counts its silence, says what is malformed and ends what has ended.

Bounds: one turn of the loop takes READ_BYTES; of an unfinished packet at most `limit_bytes` are held, for a larger
one ends the connection as soon as its head is read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

GREETING_BYTES: Final = 4  # of the first packet, which tell what the other end is
READ_BYTES: Final = 16_384  # about a hundred publishes: what else the loop has to do waits no longer than those take
TOO_LONG: Final = b"\x30\xff\xff\xff\xff\xff"  # a length without end: as wrong to paho as one beyond the limit to us


class Arrived(msgspec.Struct, gc=False):
    """One publish."""

    mid: int
    qos: int
    dup: bool
    retain: bool
    name: bytes
    payload: bytes
    identifiers: tuple[int, ...] = ()  # of the subscriptions by which it came, as far as those have one

    @property
    def topic(self) -> str:
        """Decoded anew each time it is asked for.

        Raises:
            UnicodeDecodeError: it is no text.
        """
        return self.name.decode()


class Stream:
    """What one paho client reads, until its connection ends."""

    def __init__(self, paho: Any, on_publish: Callable[[Arrived], None], *, limit_bytes: int) -> None:
        """Takes the place of `paho.loop_read`, and of the socket below what that was."""
        self._paho = paho
        self._on_publish = on_publish
        self._limit = limit_bytes
        self._receive: Callable[[int], bytes] = paho._sock_recv  # noqa: SLF001
        self._paho_reads: Callable[[], object] = paho.loop_read
        self._held = bytearray()  # the beginning of a packet
        self._wanted = 0  # how much of it must be there before it is worth looking again
        self._given = b""  # a packet on its way to paho
        self._end: Exception | None = None
        self.broken = ""  # why it was ended here
        self.on_end: Callable[[Exception], None] = lambda _why: None
        self.unlike: Callable[[bytes], Exception | None] = lambda _data: None  # why an answer to CONNECT is none
        self._greeted = False
        paho.loop_read = self.read
        paho._sock_recv = self._give  # noqa: SLF001

    def read(self) -> None:
        """Take what has come. Called by the loop when the socket has something."""
        try:
            data = self._receive(READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._end = error
            data = b""
        if not data:
            self._end = self._end or ConnectionResetError("the broker closed the connection")
            self.on_end(self._end)
            self._hand(b"")
            return
        if self._held:
            self._held += data
            if len(self._held) < self._wanted:
                return
            data = bytes(self._held)
            self._held.clear()
        if not self._greeted:
            if (why := self.unlike(data)) is not None:
                self._ended(why)
                return
            self._greeted = len(data) >= GREETING_BYTES
        done = self._take(data)
        if done < len(data):
            self._held += data[done:] if done else data

    def _take(self, data: bytes) -> int:
        """Take all whole packets; where the first unfinished one begins."""
        at, end = 0, len(data)
        self._wanted = 0
        while end - at >= 2:
            head, length, body = data[at], data[at + 1], at + 2
            if length > 127:
                found = _length(data, at + 1)
                if found is None:
                    break
                length, body = found
            if length > self._limit:
                self.broken = f"a packet of {length} bytes came, and {self._limit} is all that was asked for"
                self._hand(TOO_LONG)
                return end
            stop = body + length
            if stop > end:
                self._wanted = stop - at
                break
            if head & 0xF4 != 0x30 or not self._published(data, head, body, stop):
                self._hand(data[at:stop])
                if self._paho.socket() is None:  # that was the end: what may follow means nothing
                    return end
            at = stop
        return at

    def _published(self, data: bytes, head: int, body: int, stop: int) -> bool:
        """Deliver a publish at QoS 0 or 1 without properties. False, and nothing done, where it is anything else."""
        if stop - body < 4:
            return False
        name_at = body + 2
        name_end = name_at + (data[body] << 8 | data[body + 1])
        if head & 2:
            properties = name_end + 2
            if properties >= stop or data[properties]:
                return False
            mid = data[name_end] << 8 | data[name_end + 1]
        else:
            properties, mid = name_end, 0
            if properties >= stop or data[properties]:
                return False
        self._on_publish(
            Arrived(
                mid, head >> 1 & 1, head & 8 != 0, head & 1 != 0, data[name_at:name_end], data[properties + 1 : stop]
            )
        )
        return True

    def _hand(self, packet: bytes) -> None:
        """Let paho read one packet; nothing at all stands for the end of the connection."""
        self._given = packet
        try:
            self._paho_reads()
        except Exception as error:  # of what it does not know paho raises anything, and aiomqtt would wait on
            if self.broken:
                raise
            self.broken = f"a packet came that cannot be read: {error}"
            self._ended(ConnectionResetError(self.broken))
            return
        if self._end is None and self._paho.socket() is None:  # paho has ended it, for what it made of the packet
            self.on_end(ConnectionResetError("the broker sent what cannot be read"))

    def _ended(self, why: Exception) -> None:
        """End the connection for what came."""
        self._given = b""
        self._end = ConnectionResetError(str(why))
        self.on_end(why)
        self._hand(b"")

    def _give(self, size: int) -> bytes:
        """What paho reads from in place of its socket."""
        if self._given:
            given, self._given = self._given[:size], self._given[size:]
            return given
        raise self._end or BlockingIOError


def _length(data: bytes, at: int) -> tuple[int, int] | None:
    """A packet's remaining length and where it ends; None while it is not all there.

    One of five bytes or more, which nothing may have, is as good as too large.
    """
    length = 0
    for i in range(4):
        if at + i >= len(data):
            return None
        length |= (data[at + i] & 127) << 7 * i
        if data[at + i] < 128:
            return length, at + i + 1
    return 1 << 28, at + 4
