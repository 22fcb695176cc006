"""What must hold after any fault, by the street's own ledger: what was acknowledged is in, once, unaltered.

A poll may be missing only where its answer was given within one commit interval (and the time that a commit takes)
before the node was killed.
"""

from __future__ import annotations

from collections.abc import Sequence

from firmware_sim.compare import Comparison
from stage import Stage
from support.node_process import wait_for

COMMIT_S = 0.2
SLACK_S = 0.8  # a commit, and a scheduler that has only two cores

Lost = tuple[str, int, int]  # device, counter, time in µs


def hush(stage: Stage) -> None:
    """The street falls silent, once it has said enough."""
    wait_for(lambda: sum(line["via"] == "mqtt" for line in stage.street.offered()) > PUBLISHES, "there is much to lose")
    stage.hush()


def unexplained(found: Comparison, kills: Sequence[float] = ()) -> list[Lost]:
    """Losses that the promise does not allow: publishes, and polls not just before a kill of the node (UTC seconds)."""
    return [
        (device, counter, time_us)
        for device, counter, time_us in found.lost
        if not device.startswith("lamp")
        or not any(k - COMMIT_S - SLACK_S <= time_us / 1e6 <= k + SLACK_S for k in kills)
    ]


def around(stage: Stage, lost: Sequence[Lost]) -> list[object]:
    """What is held of the devices around the first of what is lost: a poll that timed out is there as a bad one."""
    held: list[object] = []
    for device, _, time_us in lost[:3]:
        span = {"from": time_us - 3_000_000, "to": time_us + 6_000_000, "limit": 60}
        rows = stage.get(f"/v1/devices/{device}/readings", **span)["rows"]
        held += [(row["time"], row["values"].get("answers"), sorted(set(row["quality"].values()))) for row in rows]
    return held


PUBLISHES = 100  # at least that many were there to be lost


def verdict(stage: Stage, kills: Sequence[float] = ()) -> Comparison:
    """Let it settle and hold it against the ledger."""
    hush(stage)
    found = stage.settle(lambda c: not unexplained(c, kills))
    assert unexplained(found, kills) == [], (found.examples, around(stage, unexplained(found, kills)))
    assert (found.doubled, found.wrong, found.unknown) == (0, 0, 0), found.examples
    return found


def accounted(stage: Stage, kills: Sequence[float] = (), *, polls_only: bool = False) -> Comparison:
    """The same where something may be given up, or polls only, or held twice: as long as the ledger tells of it."""
    hush(stage)
    path = f"/v1/nodes/{stage.node_name}"
    was_good = False  # at the last look: at the next one the node's own health may wait again

    def good(found: Comparison) -> bool:
        nonlocal was_good
        lost = unexplained(found, kills)
        told: int = stage.get(path)["ledger"]["missing"]["samples"]
        given_up = all(device.startswith("lamp") for device, *_ in lost) or not polls_only
        was_good = given_up and len(lost) <= told and not stage.health()["outbox_entries"]
        return was_good

    found = stage.settle(good)
    assert was_good, (found.examples, stage.get(path)["ledger"], stage.health())
    assert (found.wrong, found.unknown) == (0, 0), found.examples
    assert not found.doubled or stage.get(path)["ledger"]["forks"], found.examples
    return found
