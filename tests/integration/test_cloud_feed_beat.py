"""What a reader of the feed hears when nothing that it asked for comes: that the stream lives, and where it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.cloud_batches import SECOND, Sender, columns, places
from support.cloud_process import Process

NOW_US = time.time_ns() // 1000


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path)
    yield process
    process.close()


def test_a_filtered_reader_hears_that_the_stream_lives_while_other_batches_come(cloud: Process) -> None:
    cloud.start(pace={"keep_alive_s": 0.4})
    sender = Sender()
    cloud.push(sender.batch(columns(n=3, at_us=NOW_US)))
    stop = threading.Event()

    def go_on() -> None:  # the log grows all the time: never so long a pause that there is nothing new
        i = 0
        while not stop.is_set():
            cloud.push(sender.batch(columns(n=1, at_us=NOW_US + (i := i + 1) * SECOND)))
            time.sleep(0.05)

    pushing = threading.Thread(target=go_on)
    pushing.start()
    try:
        with httpx.Client(timeout=5) as client, cloud.feed_of(client, type="alarm") as feed:
            cursors = [feed.beat() for _ in range(4)]
    finally:
        stop.set()
        pushing.join()
    positions = [int(c.split(".")[1]) for c in cursors]
    assert positions == sorted(set(positions)), "each goes on from the one before"
    last = sender.batch(columns("bin-1", n=1, at_us=NOW_US))
    cloud.push(last)
    with cloud.feed(after=cursors[-1]) as feed:  # and can be gone on from
        while (event := feed.next()["data"])["subject"] == "lamp-001":
            pass
        assert event["id"] == next(iter(places(last)))


def test_a_cursor_inside_of_a_batch_goes_on_there(cloud: Process) -> None:
    """What was passed over of a batch, for it was filtered out, is not sent again to whoever resumes without one."""
    cloud.start(pace={"keep_alive_s": 0.001})
    batch = Sender().batch(columns(n=4_000, at_us=NOW_US, t="x" * 4_000))
    cloud.push(batch)
    with cloud.feed(after="0", point="another") as feed:
        cursors = [feed.beat() for _ in range(3)]
    inside = [c for c in cursors if "_" in c]
    assert inside
    skipped = int(inside[0].split("_")[1].split("-")[0])
    with cloud.feed(after=inside[0]) as feed:
        assert feed.next()["data"]["id"] == list(places(batch))[skipped]
    generation = inside[0].split(".")[0]
    with cloud.feed(after=f"{generation}.1.{skipped}") as feed:  # as it was said before there were ranks
        assert feed.next()["data"]["id"] == list(places(batch))[skipped + 1]


def test_a_node_that_was_never_heard_is_told_in_a_comment(cloud: Process) -> None:
    cloud.start()
    cloud.push(Sender("cab-1").batch(columns(n=1, at_us=NOW_US)))
    query = {"node": ["cab-1", "cab-11", "x\n\ndata: 1"], "after": "0"}
    with cloud.feed(**query) as feed:
        lines = [next(feed.lines) for _ in range(8)]
        assert ": no node 'cab-11' was ever heard; did you mean 'cab-1'?" in lines
        assert ": no node 'x\\n\\ndata: 1' was ever heard" in lines
        cloud.push(Sender("cab-11").batch(columns(n=1, at_us=NOW_US)))
        assert [e["data"]["data"]["node"] for e in feed.take(2)] == ["cab-1", "cab-11"]
