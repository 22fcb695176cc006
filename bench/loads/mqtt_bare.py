"""The limit: a plain aiomqtt loop that decodes eight points and keeps nothing.

python mqtt_bare.py PORT TOPIC COUNT READY DONE: subscribes at QoS 1 and makes the file READY; after COUNT publishes it
makes DONE, which holds how many readings it counted, and stays until it is ended.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import aiomqtt
import msgspec


class Points(msgspec.Struct):
    """What a device says."""

    ts: int
    n: int
    temperature: float
    humidity: float
    power: float
    voltage: float
    energy: float
    dim: int
    mode: int


READINGS = len(Points.__struct_fields__) - 1


def mark(file: Path, text: str = "") -> None:
    """Tell whoever waits for it."""
    file.write_text(text)


async def main(port: int, topic: str, count: int, ready: Path, done: Path) -> None:
    """See above."""
    decode = msgspec.json.Decoder(Points).decode
    readings = 0
    async with aiomqtt.Client("127.0.0.1", port) as client:
        await client.subscribe(topic, qos=1)
        mark(ready)
        async for message in client.messages:
            decode(message.payload)
            readings += READINGS
            if readings == count * READINGS:
                mark(done, str(readings))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]), Path(sys.argv[5])))
