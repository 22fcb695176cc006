"""The plainest loop on aiomqtt: message in, threshold, message out; it keeps nothing. `rule_bare.py PORT THRESHOLD`.

A lamp is told 1 when its level is above the threshold, else 0, and nothing where it says that already. Answers are
tasks: to wait for each to be acknowledged before the next message is looked at takes too long already.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Final

import aiomqtt
import msgspec
import uvloop

# With Nagle's algorithm a command waits for the ACK of the PUBACK before it.
NODELAY: Final = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]


async def main(port: int, threshold: float) -> None:
    """Answer every message of a lamp that is not as it should be, until ended."""
    async with (
        aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5, socket_options=NODELAY) as client,
        asyncio.TaskGroup() as answers,
    ):
        await client.subscribe("lamps/+/state", qos=1)
        print("listening", flush=True)
        async for message in client.messages:
            body = msgspec.json.decode(message.payload)
            n = int(body["level"] > threshold)
            if n != body["n"]:
                topic = message.topic.value.replace("/state", "/set")
                answers.create_task(client.publish(topic, msgspec.json.encode({"n": n}), qos=1))


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), float(sys.argv[2])))
