"""A card that is lost while the aggregator is away takes with it what nobody had been told of: the city must know.

The aggregator is killed; publishes go on and are acknowledged; the node is killed with SIGKILL and its card replaced,
emptied or damaged, as files; both start again. The oracle is the street's own ledger: publishes are lost, and more than
a few. Then ledger, feed and alarm must say that the old epoch is unfinished; what is held is right, and held once but
where the ledger tells of a fork.
"""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stage import Stage
from support.laboratory import draw

AWAY_S = 3.0, 6.0  # that much
PAGE_BYTES = 512

pytestmark = pytest.mark.timeout(600)


def replaced(card: Path) -> None:
    """Another card in its place: a directory with nothing in it."""
    shutil.rmtree(card)
    card.mkdir()


def emptied(card: Path) -> None:
    """The file has no length any more, as after a file system check."""
    with (card / "outbox.db").open("r+b") as file:
        file.truncate(0)


def without_log(card: Path) -> None:
    """The write-ahead log is deleted: the file is as it was when it was last folded back."""
    (card / "outbox.db-wal").unlink()
    (card / "outbox.db-shm").unlink(missing_ok=True)


def older(card: Path) -> None:
    """An older copy is put back."""
    for name in ("outbox.db", "outbox.db-wal", "outbox.db-shm"):
        (card / name).unlink(missing_ok=True)
    shutil.copy(card.parent / "older.db", card / "outbox.db")


def damaged(card: Path) -> None:
    """The pages at the root of the file cannot be read, and nor can the log."""
    with (card / "outbox.db").open("r+b") as file:
        file.seek(PAGE_BYTES)
        file.write(b"\x5a" * PAGE_BYTES * 12)
    with (card / "outbox.db-wal").open("r+b") as file:
        file.write(b"\x5a" * 4096)


WAYS = {f.__name__: f for f in (replaced, emptied, without_log, older, damaged)}


def wait_for(what: str, look: Callable[[], Any], timeout_s: float = 60) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := look()):
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.3)
    return found


def ledger(stage: Stage) -> dict[str, Any]:
    return stage.get("/v1/nodes/cab-faults")["ledger"]


def lanes(stage: Stage) -> list[dict[str, Any]]:
    """The runs that the aggregator knows of; none before the first batch."""
    nodes = stage.get("/v1/nodes")["nodes"]
    return nodes[0]["ledger"]["lanes"] if nodes else []


def findings(stage: Stage) -> list[dict[str, Any]]:
    """The ledger events of the feed so far."""
    found: list[dict[str, Any]] = []
    headers = {"Authorization": f"Bearer {stage.tokens['reader']}"}
    query = {"after": "0", "type": "ledger"}
    with stage.http.stream("GET", f"{stage.cloud_url}/v1/feed", params=query, headers=headers) as answer:
        for line in answer.iter_lines():
            if line.startswith("data:"):
                found.append(json.loads(line[5:])["data"])
            elif line == ": cursor" and found:  # nothing came for a while
                return found
    return found


@pytest.mark.parametrize(("way", "seed"), draw("the node's card is replaced", tuple(WAYS)))
def test_what_died_with_the_card_is_told(stage: Stage, way: str, seed: int) -> None:
    card = stage.directory / "node"
    node = stage.start_node()
    wait_for("the aggregator has something", lambda: any(p["lane"] == "bulk" for p in lanes(stage)))
    assert node.end() == 0
    shutil.copy(card / "outbox.db", stage.directory / "older.db")
    node = stage.start_node()
    wait_for("the node has reached it again", lambda: stage.health()["last_ack_s"] is not None)
    assert stage.cloud is not None
    acked = time.time() - stage.health()["last_ack_s"]  # on a busy machine that may be a while ago
    stage.cloud.kill()
    time.sleep(random.Random(seed).uniform(*AWAY_S))
    node.kill()
    WAYS[way](card)
    stage.start_cloud()
    (before,) = [p["epoch"] for p in lanes(stage) if p["lane"] == "bulk"]
    stage.start_node()
    stage.hush()
    wait_for("all that the node still has went up", lambda: not stage.health()["outbox_entries"])
    found = stage.compare()
    lost = [each for each in found.lost if not each[0].startswith("lamp")]
    assert len(lost) > 100, "publishes were acknowledged, and died with the card"
    assert all(time_us / 1e6 > acked - 3 for _, _, time_us in lost), "and nothing that the aggregator had"
    assert (found.wrong, found.unknown) == (0, 0), found.examples

    now = ledger(stage)
    assert not found.doubled or now["forks"], "what may be held twice is told"
    assert now["missing"]["certainty"] == "at_least"
    (short,) = [u for u in now["unfinished"] if u["lane"] == "bulk"]
    assert short["epoch"] == before
    told = [f for f in findings(stage) if f["finding"] == "unfinished"]
    assert short["epoch"] in {f["epoch"] for f in told if f["lane"] == "bulk"}
    (alarm,) = wait_for(
        "an alarm stands", lambda: [a for a in stage.get("/v1/alarms")["alarms"] if a["rule"] == "missing"]
    )
    assert (alarm["source"], alarm["state"]) == ("/aggregator", "raised")
    assert "ended unfinished" in alarm["detail"]
