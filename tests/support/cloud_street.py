"""A node with lamps that can be told things, as the aggregator sees it: for tests of orders."""

from __future__ import annotations

import time
from typing import Any

from support.cloud_batches import Sender
from support.cloud_process import Process
from wire.batch import Lane
from wire.device import Device, Point, Roster
from wire.entries import Result, Stage

LAMP = (
    Point(name="dim_level", type="float", unit="%", low=0, high=100, writable=True),
    Point(name="switch", type="bool", writable=True),
    Point(name="scene", type="text", choices=("night", "feast"), writable=True),
    Point(name="active_power", type="float", unit="W"),
)


def street(cloud: Process, node: str = "cab-1", lamps: int = 3) -> Sender:
    """A node that has told its roster."""
    sender = Sender(node)
    stem = node.replace("cab", "lamp")
    devices = tuple(Device(id=f"{stem}-{i}", kind="streetlight", profile="lx", tags=("quay",)) for i in range(lamps))
    cloud.push(sender.batch(Roster(devices=devices, profiles={"lx": LAMP}), lane=Lane.URGENT))
    return sender


def dim(device: str = "lamp-1-0", **more: Any) -> dict[str, Any]:
    return {"device": device, "point": "dim_level", "value": 40, "expires_in_s": 600, **more}


def say(cloud: Process, sender: Sender, order: str, *stages: Stage, **more: Any) -> None:
    now_us = time.time_ns() // 1000
    results = [Result(order=order, stage=s, time_us=now_us + i, **more) for i, s in enumerate(stages)]
    assert cloud.push(sender.batch(*results, lane=Lane.URGENT))[0] == 200


def standing(cloud: Process, order: str) -> dict[str, Any]:
    (found,) = cloud.get(f"/v1/commands/{order}")["orders"]
    return found
