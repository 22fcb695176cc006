"""The node, with points at which it kills itself: `KILL_AT=point:count`. Started in place of `lamplighter-edge`.

commit.before     entries are written but not committed
commit.after      durable, and nobody has been told
ack.before        MQTT: durable, the broker has no acknowledgement yet
ack.after         MQTT: the broker has it
answer.before     the cloud has answered, the outbox has not heard it
answer.after      the outbox has heard it
order.taken       an order holds its place in memory, and nothing of it is durable
write.before      an order is durable, and its device has not been told
write.after       its device has been told, and nobody else
result.before     the device has been read back, and nobody knows
result.after      the final result waits for its commit
code.used         a technician's code is used in memory, and nothing of it is durable
session.before    it is used on the card, its visit is told, and there is no session yet
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import aiosqlite

from drivers.modbus.bus import ModbusDriver
from drivers.mqtt.session import MqttSession
from edge.cli import main
from edge.control.orders import OrderBook
from edge.outbox.sqlite import SqliteOutbox
from edge.visit.sessions import Sessions, VisitSession
from edge.visit.visiting import Visiting

POINT, _, COUNT = os.environ.get("KILL_AT", "").partition(":")
_left = int(COUNT or 1)


def reached(point: str) -> None:
    global _left  # noqa: PLW0603 - a process has one life
    if point == POINT:
        _left -= 1
        if _left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


_execute = aiosqlite.Connection.execute
_confirm = SqliteOutbox.confirm
_acknowledge = MqttSession.acknowledge


def execute(self: aiosqlite.Connection, sql: str, parameters: Any = None) -> Any:
    async def committing() -> Any:
        reached("commit.before")
        done = await _execute(self, sql, parameters)
        reached("commit.after")
        return done

    return committing() if sql == "COMMIT" else _execute(self, sql, parameters)


async def confirm(self: SqliteOutbox, ack: Any) -> bool:
    reached("answer.before")
    forked = await _confirm(self, ack)
    reached("answer.after")
    return forked


def acknowledge(self: MqttSession, mid: int, qos: int) -> None:
    reached("ack.before")
    _acknowledge(self, mid, qos)
    reached("ack.after")


_take, _settled, _write = OrderBook.take, OrderBook.settled, ModbusDriver.write


def take(self: OrderBook, *args: Any, **kwargs: Any) -> None:
    _take(self, *args, **kwargs)
    reached("order.taken")


async def write(self: ModbusDriver, *args: Any) -> None:
    reached("write.before")
    await _write(self, *args)
    reached("write.after")


def settled(self: OrderBook, key: Any, level: Any, held: Any, read_back: Any) -> bool:
    ordered = held is not None and bool(held.order)  # the plan settles too
    if ordered:
        reached("result.before")
    due = _settled(self, key, level, held, read_back)
    if ordered:
        reached("result.after")
    return due


_use, _begin = Visiting._use, Sessions.begin


async def use(self: Visiting, *args: Any) -> None:
    await _use(self, *args)
    reached("code.used")


def begin(self: Sessions, *args: Any) -> VisitSession:
    reached("session.before")
    return _begin(self, *args)


Visiting._use = use  # type: ignore[method-assign]
Sessions.begin = begin  # type: ignore[method-assign]
OrderBook.take = take  # type: ignore[method-assign]
OrderBook.settled = settled  # type: ignore[method-assign]
ModbusDriver.write = write  # type: ignore[method-assign]
aiosqlite.Connection.execute = execute  # type: ignore[method-assign,assignment]
SqliteOutbox.confirm = confirm  # type: ignore[method-assign,assignment]
MqttSession.acknowledge = acknowledge  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main())
