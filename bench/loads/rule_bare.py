"""The plainest loop on aiomqtt: message in, threshold, message out; it keeps nothing. `rule_bare.py PORT THRESHOLD`.

Answers are tasks: to wait for each to be acknowledged before the next message is looked at takes too long already.
"""

from __future__ import annotations

import asyncio
import sys

import aiomqtt
import msgspec
import uvloop


async def main(port: int, threshold: float) -> None:
    """Answer every message above the threshold, until ended."""
    async with (
        aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5) as client,
        asyncio.TaskGroup() as answers,
    ):
        await client.subscribe("lamps/+/state", qos=1)
        print("listening", flush=True)
        async for message in client.messages:
            body = msgspec.json.decode(message.payload)
            if body["level"] > threshold:
                topic = message.topic.value.replace("/state", "/set")
                answers.create_task(client.publish(topic, msgspec.json.encode({"n": body["n"]}), qos=1))


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), float(sys.argv[2])))
