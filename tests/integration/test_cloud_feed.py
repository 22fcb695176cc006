"""The feed over real sockets: in order, resumable without loss or double, never in the way of ingest."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft7Validator, FormatChecker

from cloud.sqlite.tokens import tokens_of
from support.cloud_batches import SECOND, Sender, columns, places, roster
from support.cloud_process import Process
from wire.batch import Lane
from wire.entries import Alarm, ClockFix, Decision, Decisions, Gap, Health, Mark, Result, Visit
from wire.sample import Clock

NOW_US = time.time_ns() // 1000
ROOT = Path(__file__).resolve().parents[2]
STANDARDS = Path(os.environ.get("LAMPLIGHTER_STANDARDS", ROOT.parent / "shared" / "standards"))


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path)
    yield process
    process.close()


def ids(events: list[dict[str, Any]]) -> list[str]:
    return [e["data"]["id"] for e in events]


def test_what_is_taken_comes_out_once_and_in_order(cloud: Process) -> None:
    cloud.start()
    sender = Sender()
    batches = [sender.batch(columns(n=3, at_us=NOW_US), columns("lamp-002", n=2, at_us=NOW_US)) for _ in range(4)]
    cloud.push(batches[0])
    with cloud.feed(after="0") as whole, cloud.feed() as live:
        for batch in batches[1:]:
            cloud.push(batch)
        assert ids(whole.take(20)) == [i for b in batches for i in places(b)]
        assert ids(live.take(15)) == [i for b in batches[1:] for i in places(b)]


def test_resuming_anywhere_loses_nothing_and_doubles_nothing(cloud: Process) -> None:
    cloud.start()
    sender = Sender()
    batches = [sender.batch(columns(n=3, at_us=NOW_US + i), columns("lamp-002", n=2)) for i in range(3)]
    for batch in batches:
        cloud.push(batch)
    with cloud.feed(after="0") as feed:
        whole = feed.take(15)
    for at in range(15):
        for resume in ({"last_event_id": whole[at]["id"]}, {"after": whole[at]["id"]}):
            with cloud.feed(**resume) as feed:
                cloud.push(batches[0])  # a double changes nothing
                rest = feed.take(14 - at)
                assert ids(rest) == ids(whole[at + 1 :])
    assert cloud.stop()[0] == 0
    cloud.start()
    with cloud.feed(last_event_id=whole[6]["id"]) as feed:
        assert feed.take(8) == whole[7:]


def test_every_entry_is_a_valid_cloud_event(cloud: Process) -> None:
    schema_file = STANDARDS / "cloudevents" / "cloudevents.schema.json"
    if not schema_file.exists():
        pytest.skip(f"{schema_file} is not here; LAMPLIGHTER_STANDARDS says where the standards are")
    validator = Draft7Validator(json.loads(schema_file.read_text()), format_checker=FormatChecker())
    cloud.start()
    sender = Sender()
    alarm = Alarm(
        id="a", device="lamp-001", rule="r", severity="high", state="raised", raised_us=NOW_US, time_us=NOW_US
    )
    cloud.push(
        sender.batch(
            roster("lamp-001", kind="streetlight"),
            alarm,
            Health(time_us=NOW_US, verdict="degraded", reasons=("disk",)),
            ClockFix(boot=3, offset_us=5, error_us=1),
            Gap(reason="full", lost=3, seqs=3),
            Mark(device="lamp-001", rule="r", tag="t", time_us=NOW_US),
            Result(order="o-1", stage="verified", time_us=NOW_US, device="lamp-001", read_back=float("nan")),
            Visit(visit="v-1", by="M. Dupont", act="acted", time_us=NOW_US, device="lamp-001", detail="on", boot=3),
            Decisions(
                time_us=NOW_US,
                decided=(Decision(point="dim", devices=("lamp-001", "x"), level="plan", value=40.0, by="street"),),
                plan="winter 7",
            ),
            lane=Lane.URGENT,
        )
    )
    given = {"device": "lamp-001", "point": "n", "value": 1, "expires_in_s": 60}
    assert cloud.order("/v1/commands", given).status_code == 202
    estimated = Clock(3, synced=False)
    cloud.push(sender.batch(columns(at_us=NOW_US, n=1, t=float("nan")), columns("x", n=1, clock=estimated), ahead=7))
    cloud.push(Sender(epoch=8).batch(columns(at_us=NOW_US + SECOND, n=1)))
    with cloud.feed(after="0") as feed:
        events = [e["data"] for e in feed.take(14)]
    for event in events:
        validator.validate(event)
    assert [e["type"].removeprefix("city.lamplighter.") for e in events] == [
        "roster", "alarm", "health", "clock_fix", "gap", "mark", "result", "visit", "decisions", "order", "ledger",
        "reading", "reading", "reading",
    ]  # fmt: skip
    first, corrected = events[11], events[12]
    assert first["subject"] == "lamp-001"
    assert first["source"] == "/nodes/cab-1"
    assert first["data"]["kind"] == "streetlight"
    assert first["data"]["values"] == {"n": 0, "t": "NaN"}
    assert (corrected["data"]["clock"], corrected["data"]["boot"]) == ("corrected", 3)
    assert events[7]["subject"] == "lamp-001"
    assert (events[7]["data"]["by"], events[7]["data"]["clock"]) == ("M. Dupont", "corrected")
    said = events[8]["data"]
    assert (said["plan"], said["decided"][0]["devices"], said["decided"][0]["level"]) == (
        "winter 7", ["lamp-001", "x"], "plan",
    )  # fmt: skip
    assert events[10]["data"]["finding"] == "unfinished"
    assert len({e["id"] for e in events}) == 14


def test_filters_by_type_kind_and_node(cloud: Process) -> None:
    cloud.start()
    for node, kind in (("cab-1", "streetlight"), ("cab-2", "bin")):
        sender = Sender(node)
        cloud.push(sender.batch(roster(f"{kind}-1", kind=kind), Health(time_us=1, verdict="ok"), lane=Lane.URGENT))
        cloud.push(sender.batch(columns(f"{kind}-1", n=2, at_us=NOW_US)))
    for query, expected in (
        ({"type": "reading"}, 4),
        ({"type": ["reading", "city.lamplighter.health"]}, 6),
        ({"kind": "bin"}, 2),
        ({"node": "cab-1"}, 4),
        ({"node": ["cab-1", "cab-2"], "type": "health"}, 2),
    ):
        with cloud.feed(after="0", **query) as feed:
            found = feed.take(expected)
            assert len(ids(found)) == len(set(ids(found))) == expected
            cloud.push(Sender("cab-3", epoch=time.time_ns()).batch(columns(f"end-{expected}", n=1)))
    for query in ({"type": "rumour"}, {"after": "yesterday"}, {"after": "1.2.3.4"}, {"type": ["reading", "x"]}):
        answer = cloud.client.get(f"{cloud.url}/v1/feed", params=query, headers=cloud.bearer())
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")


def test_a_cursor_that_is_too_old_or_of_another_store_gets_a_reset(cloud: Process) -> None:
    cloud.start()
    sender = Sender()
    batches = [sender.batch(columns(n=2, at_us=NOW_US + i * SECOND)) for i in range(5)]
    for batch in batches[:3]:
        cloud.push(batch)
    cloud.verb("backup", "--data", str(cloud.data), str(cloud.directory / "backup"))
    old = cloud.push(batches[3])[1].generation
    with cloud.feed(after=f"{old}.99") as feed:
        reset = feed.next()
        assert (reset["event"], reset["data"]["reason"]) == ("reset", "unknown")
    cloud.stop()
    cloud.verb("restore", "--data", str(cloud.data), str(cloud.directory / "backup"))
    cloud.start()
    assert cloud.place("cab-1", 7).generation > old
    assert cloud.place("cab-1", 7).through_seq == 6
    with cloud.feed(after=f"{old}.4") as feed:
        reset = feed.next()
        assert (reset["event"], reset["data"]["reason"]) == ("reset", "generation")
        assert reset["data"]["missed_after"] == f"{old}.4"
        assert [cloud.push(b)[0] for b in batches[3:]] == [200, 200]
        assert ids(feed.take(4)) == [*places(batches[3]), *places(batches[4])]
    with cloud.feed(after="12345.4") as feed:
        assert feed.next()["event"] == "reset"
        assert len(ids(feed.take(10))) == 10


def test_a_backup_put_back_by_hand_is_noticed(cloud: Process) -> None:
    cloud.start()
    sender = Sender()
    old = cloud.push(sender.batch(columns()))[1].generation
    backup = cloud.directory / "backup"
    cloud.verb("backup", "--data", str(cloud.data), str(backup))
    cloud.push(sender.batch(columns()))
    cloud.stop()
    for name in ("store.db-wal", "store.db-shm"):
        (cloud.data / name).unlink(missing_ok=True)
    shutil.copy(backup / "store.db", cloud.data / "store.db")
    cloud.start()
    assert cloud.place("cab-1", 7).through_seq == 3
    assert cloud.place("cab-1", 7).generation > old
    cloud.stop()
    (cloud.data / "generation").unlink()
    again = cloud.start().place("cab-1", 7).generation
    assert again > old
    cloud.stop()
    assert cloud.start().place("cab-1", 7).generation == again
    cloud.stop()
    shutil.copytree(backup, cloud.directory / "elsewhere")
    cloud.data = cloud.directory / "elsewhere"
    cloud.start()
    assert cloud.place("cab-1", 7).generation > old


def test_what_was_compacted_is_gone_from_the_feed_but_not_from_the_readings(cloud: Process) -> None:
    cloud.start()
    sender = Sender()
    batches = [sender.batch(columns(n=5, at_us=NOW_US + i * 9 * SECOND)) for i in range(3)]
    cursor = f"{cloud.push(batches[0])[1].generation}.1"
    for batch in batches[1:]:
        cloud.push(batch)
    before = cloud.readings("lamp-001")
    cloud.stop()
    cloud.start("--feed-days", "0")
    deadline = time.monotonic() + 60
    while (
        cloud.get("/v1/nodes")
        and "lamplighter_compacted_batches_total 2.0"
        not in cloud.client.get(f"{cloud.url}/metrics", headers=cloud.bearer()).text
    ):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert cloud.readings("lamp-001") == before
    with cloud.feed(after=cursor) as feed:
        reset = feed.next()
        assert (reset["event"], reset["data"]["reason"], reset["data"]["missed_after"]) == ("reset", "expired", cursor)
        assert ids(feed.take(5)) == list(places(batches[2]))


def test_a_slow_reader_is_cut_off_and_never_slows_ingest(cloud: Process) -> None:
    cloud.start("--feed-cut-s", "1")
    host, port = cloud.url.removeprefix("http://").split(":")
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect((host, int(port)))
        slow.sendall(
            f"GET /v1/feed HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {cloud.token('reader')}\r\n\r\n".encode()
        )
        assert slow.recv(15) == b"HTTP/1.1 200 OK"
        sender = Sender()
        for i in range(60):  # each would wait for the reader until the client's time-out, if it waited at all
            batch = sender.batch(*[columns(f"l-{k}", n=100, at_us=NOW_US, t="x" * 60) for k in range(8)])
            assert cloud.push(batch)[0] == 200, i
        deadline = time.monotonic() + 60
        metrics = f"{cloud.url}/metrics"
        while 'feeds_cut_total{reason="slow"} 1.0' not in (
            text := cloud.client.get(metrics, headers=cloud.bearer()).text
        ):
            assert time.monotonic() < deadline, text
            time.sleep(0.1)
        assert "lamplighter_feeds 0.0" in cloud.client.get(metrics, headers=cloud.bearer()).text
        assert "lamplighter_errors_total 0.0" in text  # the reader's fault, not ours
    assert "Traceback" not in cloud.stop()[1]


def test_stopping_ends_feeds(cloud: Process) -> None:
    cloud.start()
    ended = threading.Event()

    def read() -> None:
        with cloud.feed() as feed, pytest.raises((EOFError, httpx.TransportError)):
            feed.next()
        ended.set()

    reader = threading.Thread(target=read)
    reader.start()
    while "lamplighter_feeds 1.0" not in cloud.client.get(f"{cloud.url}/metrics", headers=cloud.bearer()).text:
        time.sleep(0.05)
    code, errors = cloud.stop(signal.SIGTERM)
    assert code == 0, errors
    reader.join(5)
    assert ended.is_set()


def test_a_revoked_reader_is_ended(cloud: Process) -> None:
    cloud.start()
    with cloud.feed() as feed:
        with tokens_of(cloud.data) as tokens:
            assert tokens.revoke(cloud.token("reader").split("_")[1], 1)
        time.sleep(1.1)
        cloud.push(Sender().batch(columns(n=1)))
        with pytest.raises(EOFError):
            feed.take(2)


def test_a_batch_that_expands_comes_in_slices_and_resumes_within_them(cloud: Process) -> None:
    cloud.start()
    n = 4_000
    batch = Sender().batch(columns(n=n, at_us=NOW_US, t="x" * 4_000))

    def peak_mib() -> int:
        assert cloud.running is not None
        status = Path(f"/proc/{cloud.running.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) // 1024

    with cloud.feed() as feed:
        before = peak_mib()
        cloud.push(batch)
        events = feed.take(n)
        assert ids(events) == list(places(batch))
    with cloud.feed(after=events[n // 2]["id"]) as feed:
        assert ids(feed.take(n - n // 2 - 1)) == ids(events[n // 2 + 1 :])
    assert peak_mib() - before < 150
    metrics = cloud.client.get(f"{cloud.url}/metrics", headers=cloud.bearer()).text
    sent = float(metrics.partition("\nlamplighter_feed_sent_bytes_total ")[2].split()[0])
    assert sent > 1.5 * n * 4_000
