"""The verdict: each reason by itself, and the words that docs/operations.md explains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from drivers.errors import NotStored
from edge import health
from edge.clock import EARLIEST_US, NodeClock
from edge.health import RESTARTED_SHOWN_S, Doctor
from edge.outbox.contract import Depth
from edge.sampling.last_samples import LastSamples
from edge.web.pages import Pages
from groundwork.liveness import Late
from wire.batch import Lane
from wire.entries import Health
from wire.sample import Clock, Sample

NOW_US = EARLIEST_US + 10**9
MB = 1_000_000


class Cabinet:
    """Everything that a doctor looks at, in good health."""

    def __init__(self, directory: Path) -> None:
        self.now = 1000.0
        self.street = LastSamples()
        self.street.expect("lamp", 10, self.now)
        self.uplink = SimpleNamespace(last_ack=self.now, down=None, failures=1, held=None)
        self.commit = SimpleNamespace(refused=None)
        self.faults: dict[str, str] = {}
        self.pending = 0
        self.oldest_us: int | None = None
        self.used_bytes = 0
        self.full = 0.0
        self.quarantined = 0
        self.unreadable: str | None = None
        self.synced = True
        self.apart_us: int | None = None
        self.insecure = False
        self.directory = directory
        self.free_bytes = 1000 * MB
        self.late: list[Late] = []
        self.anew: dict[str, tuple[str, float]] = {}
        self.restarted: str | None = None

    async def depth(self) -> Depth:
        if self.unreadable:
            raise NotStored(self.unreadable)
        return Depth(
            pending={Lane.BULK: self.pending},
            oldest_us=self.oldest_us,
            used_bytes=self.used_bytes,
            limit_bytes=100,
            quarantined=self.quarantined,
            full=self.full,
        )

    def doctor(self) -> Doctor:
        return Doctor(
            outbox=self,  # type: ignore[arg-type]
            uplink=self.uplink,  # type: ignore[arg-type]
            commit=self.commit,  # type: ignore[arg-type]
            street=self.street,
            clock=NodeClock(
                last_known_us=0,
                wall_us=lambda: NOW_US,
                monotonic_us=lambda: 0,
                synced=lambda: self.synced,
                boot=lambda: 7,
            ),
            faults=lambda: self.faults,
            counters=lambda: {"polls": 3},
            roster="ab",
            directory=self.directory,
            interval_s=60,
            push_interval_s=60,
            insecure=self.insecure,
            monotonic=lambda: self.now,
            apart_us=lambda: self.apart_us,
            late=lambda: self.late,
            anew=lambda: self.anew,
            restarted=lambda: self.restarted,
        )

    async def look(self) -> Health:
        return await self.doctor().look()


@pytest.fixture
def cabinet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cabinet:
    found = Cabinet(tmp_path)
    monkeypatch.setattr(health.shutil, "disk_usage", lambda _: SimpleNamespace(free=found.free_bytes))
    return found


def pages(cabinet: Cabinet) -> Pages:
    return Pages(look=cabinet.look, decided=list, alarms=list, explain=lambda _device: [])


async def test_in_good_health(cabinet: Cabinet) -> None:
    found = await cabinet.look()
    assert (found.verdict, found.reasons) == ("ok", ())
    assert (found.devices, found.boot, found.clock_synced, found.counters) == (1, 7, True, {"polls": 3})
    assert (found.last_ack_s, found.outbox_oldest_s, found.time_us) == (0, None, NOW_US)


def refused(c: Cabinet) -> None:
    c.commit.refused = "the card refuses: disk I/O error"


def unreadable(c: Cabinet) -> None:
    c.unreadable = "the card refuses: disk I/O error"


def line(c: Cabinet) -> None:
    c.faults["north"] = "OSError: no such port"


def device(c: Cabinet) -> None:
    c.street.devices["lamp"].fault = "misconfigured: no such point"


def silent(c: Cabinet) -> None:
    c.now += 31
    c.uplink.last_ack = c.now


def down(c: Cabinet) -> None:
    c.uplink.down = "401: unknown token"


def late(c: Cabinet) -> None:
    c.street.note(Sample("lamp", 1, Clock(7, synced=True), {"a": 1}), c.now + 181)
    c.now += 181


def apart(c: Cabinet) -> None:
    c.apart_us = -120_000_000


def unheard(c: Cabinet) -> None:
    c.street.devices["lamp"].expected_every_s = 86_400
    c.now += 301
    c.uplink.last_ack = c.now


def full(c: Cabinet) -> None:
    c.full, c.pending = 0.81, 1


def held(c: Cabinet) -> None:
    c.uplink.held = "the cloud refuses what is sent to it (bulk), nothing is given up for it: no"


def quarantined(c: Cabinet) -> None:
    c.quarantined = 2


def little_disk(c: Cabinet) -> None:
    c.free_bytes = 60 * MB


def clock(c: Cabinet) -> None:
    c.synced = False


def commit_stuck(c: Cabinet) -> None:
    c.late = [Late("commit", "a commit", 601)]


def stuck(c: Cabinet) -> None:
    c.late = [Late("lines", "the end of 3 drivers", 10), Late("card", "an answer", 31)]


def anew(c: Cabinet) -> None:
    c.anew["north"] = "it has not opened for 120 s", 300


def restarted(c: Cabinet) -> None:
    c.restarted = "commit: a commit has taken 601 s"
    c.now += 20


def plain(c: Cabinet) -> None:
    c.insecure = True


@pytest.mark.parametrize(
    ("make", "verdict", "reason"),
    [
        (refused, "failed", "nothing can be kept: the card refuses: disk I/O error"),
        (unreadable, "failed", "the outbox cannot be read: the card refuses: disk I/O error"),
        (line, "degraded", "line north: OSError: no such port"),
        (device, "degraded", "device lamp: misconfigured: no such point"),
        (silent, "degraded", "1 of 1 devices are silent"),
        (down, "degraded", "the cloud is out of reach: 401: unknown token"),
        (late, "degraded", "the last ack is 181 s old"),
        (full, "degraded", "the outbox is 81 % full"),
        (held, "degraded", "the cloud refuses what is sent to it (bulk), nothing is given up for it: no"),
        (quarantined, "degraded", "2 rows were set aside because the cloud could not read them"),
        (little_disk, "degraded", "only 60 MB are free on the disk"),
        (clock, "degraded", "the clock is not synchronised: times are estimated"),
        (apart, "degraded", "the aggregator's clock is -120 s off this one, which is synchronised"),
        (unheard, "degraded", "device lamp: never heard since the start 5 min ago"),
        (commit_stuck, "failed", "a commit has not come back for 601 s: nothing can be kept"),
        (stuck, "degraded", "stuck: lines: the end of 3 drivers has taken 10 s"),
        (anew, "degraded", "line north: opened anew 5 min ago: it has not opened for 120 s"),
        (restarted, "degraded", "the node had to begin anew 0 min ago: commit: a commit has taken 601 s"),
        (plain, "degraded", "insecure = true: what goes to the cloud can be read on the way"),
    ],
)
async def test_each_reason_alone(cabinet: Cabinet, make: Callable[[Cabinet], None], verdict: str, reason: str) -> None:
    doctor_before = cabinet.doctor()  # silence is counted from the start
    make(cabinet)
    found = await (cabinet.look() if make in (clock, plain) else doctor_before.look())
    assert (found.verdict, found.reasons) == (verdict, (reason,))


async def test_why_the_node_had_to_begin_anew_is_told_for_a_day(cabinet: Cabinet) -> None:
    doctor = cabinet.doctor()
    restarted(cabinet)
    assert (await doctor.look()).reasons
    cabinet.now += RESTARTED_SHOWN_S
    cabinet.uplink.last_ack = cabinet.now
    cabinet.street.note(Sample("lamp", 1, Clock(7, synced=True), {"a": 1}), cabinet.now)
    assert (await doctor.look()).reasons == ()


async def test_failures_come_first_and_reasons_are_bounded(cabinet: Cabinet) -> None:
    refused(cabinet)
    for n in range(100):
        line(cabinet)
        cabinet.faults[f"line{n}"] = "gone"
    found = await cabinet.look()
    assert found.verdict == "failed"
    assert found.reasons[0].startswith("nothing can be kept")
    assert len(found.reasons) == 50


async def test_a_full_outbox_of_history_is_no_trouble(cabinet: Cabinet) -> None:
    cabinet.used_bytes, cabinet.pending = 99, 1
    assert (await cabinet.look()).verdict == "ok"


async def test_the_age_of_the_oldest_never_goes_below_zero(cabinet: Cabinet) -> None:
    cabinet.oldest_us, cabinet.pending = NOW_US - 90_000_000, 4
    assert (await cabinet.look()).outbox_oldest_s == 90
    cabinet.oldest_us = NOW_US + 90_000_000
    assert (await cabinet.look()).outbox_oldest_s == 0


async def test_over_http_failed_is_503_and_everything_else_200(cabinet: Cabinet) -> None:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(pages(cabinet).app()), base_url="http://localhost"
    ) as client:
        answer = await client.get("/health")
        assert (answer.status_code, answer.json()["verdict"]) == (200, "ok")
        assert answer.headers["cache-control"] == "no-store"
        down(cabinet)
        answer = await client.get("/health")
        assert (answer.status_code, answer.json()["verdict"]) == (200, "degraded")
        refused(cabinet)
        answer = await client.get("/health")
        assert (answer.status_code, answer.json()["verdict"]) == (503, "failed")
        assert answer.json()["reasons"][0] == "nothing can be kept: the card refuses: disk I/O error"
        assert (await client.get("/")).status_code == 404
        assert (await client.post("/health")).status_code == 405


async def test_a_node_that_has_only_begun_to_call_does_not_complain(cabinet: Cabinet) -> None:
    doctor = cabinet.doctor()
    cabinet.uplink.down, cabinet.uplink.failures, cabinet.uplink.last_ack = "not yet connected", 0, None
    assert (await doctor.look()).verdict == "ok"
    cabinet.uplink.failures = 1
    assert (await doctor.look()).verdict == "degraded"
    cabinet.uplink.failures = 0
    cabinet.now += 31
    cabinet.street.note(Sample("lamp", 1, Clock(7, synced=True), {"a": 1}), cabinet.now)
    assert (await doctor.look()).verdict == "degraded"
