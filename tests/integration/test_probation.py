"""A bundle with which the node is killed at each start: it is put aside, told, and the one before is followed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from edge.acting.bundles import followed
from edge.acting.probation import BEFORE, MAX_ENDS
from edge.outbox.sqlite import SqliteOutbox
from support.node_process import COUNTERS, NodeProcess, wait_for
from wire.orders import Bundle

SITE = """
[site]
lon = 5.041
lat = 47.322
time_zone = "Europe/Paris"
"""
RULES = """
[[rule]]
name = "{}"
on = {{ kind = "counter" }}
when = "n > 0"
alarm = {{ severity = "low", text = {{ en = "It counts" }} }}
"""


def bundle(version: str, issued_us: int) -> Bundle:
    text = RULES.format(version)
    return Bundle(id=version, by="m", issued_us=issued_us, expires_us=9, kind="rules", version=version, text=text)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeProcess]:
    process = NodeProcess(tmp_path, SITE + COUNTERS)
    yield process
    if process.actor.process.poll() is None:
        process.actor.kill()


def keep(node: NodeProcess, changes: dict[str, bytes | None]) -> None:
    async def write() -> None:
        async with SqliteOutbox(node.data, node="cab-1", limit_bytes=64 << 20) as outbox:
            await outbox.append({}, (), changes)

    asyncio.run(write())


def rules(node: NodeProcess) -> list[str]:
    """What it follows."""
    return [r["rule"] for r in httpx.get(f"{node.ready().removesuffix('/health')}/rules/c-1", timeout=10).json()]


def alarms(node: NodeProcess) -> dict[str, Any]:
    url = node.ready().removesuffix("/health")
    return {a["rule"]: a for a in httpx.get(f"{url}/alarms", timeout=10).json()}


@pytest.mark.slow
def test_a_bundle_with_which_the_node_is_killed_at_each_start_is_put_aside(node: NodeProcess) -> None:
    node.ready()
    assert node.end()[0] == 0
    pack = msgspec.msgpack.encode
    keep(node, {"bundle/rules": pack(bundle("newer", 2)), f"{BEFORE}rules": pack(bundle("older", 1))})
    node.again()
    node.ready()
    assert node.end()[0] == 0  # a wanted end is none of the bundle's
    for _ in range(MAX_ENDS):
        node.again()
        assert rules(node) == ["newer"]
        node.actor.kill()
        assert followed(str(node.data), "rules") == bundle("newer", 2)
    node.again()
    assert rules(node) == ["older"]
    wait_for(lambda: "rules-put-aside" in alarms(node), "it is told")
    found = alarms(node)
    assert found["rules-put-aside"]["state"] == "raised"
    assert "rules newer, given by m" in found["rules-put-aside"]["detail"]
    node.actor.kill()
    assert followed(str(node.data), "rules") == bundle("older", 1)
    for _ in range(MAX_ENDS - 1):
        node.again()
        node.ready()
        node.actor.kill()
    node.again()
    assert rules(node) == []
    assert "rules older, given by m" in node.said()
    assert alarms(node)["rules-put-aside"]["state"] == "raised"
    assert node.end()[0] == 0
    assert followed(str(node.data), "rules") is None
