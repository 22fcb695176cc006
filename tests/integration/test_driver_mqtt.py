"""MQTT promise by promise, against a real mosquitto: nothing acknowledged before it is kept, nothing kept twice."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from conformance.driver_rigs import BIN, Broker, Ledger, attach, broker, listening, open_driver, profile_of, until
from drivers.errors import Misconfigured, NotStored, Unreachable
from drivers.mqtt.session import PACKET_BYTES

BINS = profile_of("test-bin", BIN)
LAMP = attach("lamp", BINS, {"serial": "A1"})


def node(server: Broker, ledger: Ledger, **keys: Any) -> Any:
    line = {"host": "127.0.0.1", "port": server.port, "client_id": "node", "session_expiry_s": 600, **keys}
    return open_driver("mqtt", line, [LAMP], ledger)


@asynccontextmanager
async def running(server: Broker, ledger: Ledger, **keys: Any) -> AsyncIterator[Any]:
    async with node(server, ledger, **keys) as driver, listening(driver, [LAMP.device], ledger):
        await until(lambda: driver.counters()["connected"])
        yield driver


async def publish(server: Broker, *payloads: str, retain: bool = False, qos: int = 1) -> None:
    async with aiomqtt.Client("127.0.0.1", server.port) as client:
        for payload in payloads:
            await client.publish("bins/A1/up", payload, qos=qos, retain=retain)


def numbers(ledger: Ledger) -> list[Any]:
    return [s.values["n"] for s in ledger.samples]


async def test_what_is_not_kept_is_not_acknowledged_and_comes_again() -> None:
    async with broker() as server:
        first = Ledger()
        first.hold = []
        async with running(server, first) as driver:
            await publish(server, *(f'{{"n": {n}}}' for n in range(3)))
            await first.count(3)
            assert driver.counters().get("acknowledged", 0) == 0
        second = Ledger()
        async with running(server, second) as driver:
            await second.count(3)
            await until(lambda: driver.counters()["acknowledged"] == 3)
        assert numbers(second) == [0, 1, 2]
        third = Ledger()
        async with running(server, third):
            await asyncio.sleep(0.1)
        assert numbers(third) == []


async def test_killed_between_receipt_and_commit() -> None:
    async with broker() as server:
        script = Path(__file__).with_name("driver_kill_child.py")
        child = await asyncio.create_subprocess_exec(
            sys.executable, str(script), str(server.port), stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        assert child.stdout is not None
        assert await asyncio.wait_for(child.stdout.readline(), 10) == b"ready\n"
        await publish(server, *(f'{{"n": {n}}}' for n in range(5)))
        assert await asyncio.wait_for(child.stdout.readline(), 10) == b"received\n"
        child.send_signal(signal.SIGKILL)
        await child.wait()
        ledger = Ledger()
        async with running(server, ledger):
            await ledger.count(5)
        assert numbers(ledger) == [0, 1, 2, 3, 4]


async def test_kept_but_not_acknowledged_before_a_restart_is_a_repeat_after_it() -> None:
    async with broker() as server:
        ledger = Ledger()
        ledger.hold = []
        async with running(server, ledger):
            await publish(server, '{"n": 1}', '{"n": 2}')
            await ledger.count(2)
            kept, ledger.hold = ledger.hold, []
        for _, samples, receipt in kept:  # the commit is on the disk; the process died before it could say so
            ledger._commit(asyncio.get_running_loop().create_future(), samples, receipt)
        ledger.hold = None
        async with running(server, ledger) as driver:
            await until(lambda: driver.counters().get("acknowledged") == 2)
            assert driver.counters()["repeats"] == 2
            await publish(server, '{"n": 3}')
            await ledger.count(3)
        assert numbers(ledger) == [1, 2, 3]


async def test_without_packet_ids_the_redelivery_alone_tells_and_equal_publishes_are_not_repeats() -> None:
    plain = profile_of("plain", {**BIN, "mqtt": {"topic": "bins/{serial}/up", "command_topic": "x"}})
    lamp = attach("lamp", plain, {"serial": "A1"})
    async with broker() as server:
        ledger = Ledger()
        line = {"host": "127.0.0.1", "port": server.port, "client_id": "node"}
        for round_ in range(2):
            ledger.hold = [] if round_ == 0 else None
            async with open_driver("mqtt", line, [lamp], ledger) as driver, listening(driver, [lamp.device], ledger):
                await until(lambda d=driver: d.counters()["connected"])
                await publish(server, '{"n": 7}', '{"n": 7}')
                await ledger.count(2 if round_ == 0 else 4)
                if round_ == 1:
                    await until(lambda d=driver: d.counters().get("acknowledged") == 4)
                    assert driver.counters()["repeats"] == 2
                kept, ledger.hold = ledger.hold or [], []
            for _, samples, receipt in kept:
                ledger._commit(asyncio.get_running_loop().create_future(), samples, receipt)
        assert numbers(ledger) == [7, 7, 7, 7]


async def test_a_device_that_publishes_again_is_one_reading_also_across_sessions() -> None:
    async with broker() as server:
        ledger = Ledger()
        async with running(server, ledger, session_expiry_s=0) as driver:
            await publish(server, '{"n": 1, "fill": 3}', '{"n": 1, "fill": 3}', '{"n": 2, "fill": 3}')
            await until(lambda: driver.counters().get("acknowledged") == 3)
        async with running(server, ledger, session_expiry_s=0) as driver:
            await publish(server, '{"n": 2, "fill": 3}', '{"n": 1, "fill": 50}')  # the second: it has begun anew
            await until(lambda: driver.counters().get("acknowledged") == 2)
        assert [(s.values["n"], s.values["fill"]) for s in ledger.samples] == [(1, 3.0), (2, 3.0), (1, 50.0)]


async def test_retained_comes_once_with_a_new_subscription_and_is_uncertain() -> None:
    async with broker() as server:
        await publish(server, '{"n": 1}', retain=True)
        ledger = Ledger()
        async with running(server, ledger):
            (sample,) = await ledger.count(1)
            assert sample.quality == {"n": "uncertain:retained"}
            await publish(server, '{"n": 2}', retain=True)
            assert (await ledger.count(2))[1].quality == {}  # live, whatever the broker keeps of it
        async with running(server, ledger):
            await asyncio.sleep(0.1)
        assert numbers(ledger) == [1, 2]


async def test_what_cannot_be_read_is_a_bad_reading_and_no_stop() -> None:
    async with broker() as server:
        ledger = Ledger()
        async with running(server, ledger, max_payload_bytes=64) as driver:
            await publish(server, "{", "[]", "\xff", "{}", " " * 65, "[" * 60, '{"n": 1e999}', '{"n": "x"}', '{"n": 5}')
            samples = await ledger.count(9)
            await until(lambda: driver.counters()["acknowledged"] == 9)
            assert driver.counters()["unreadable"] == 7
        assert samples[0].quality == dict.fromkeys(BINS.points, "bad:the payload is not JSON")
        assert samples[3].quality["n"] == "bad:the payload has none of the points"
        assert samples[4].quality["n"] == "bad:the payload has 65 bytes"
        assert samples[7].quality == {"n": "bad:'x' is not a whole number"}
        assert samples[8].values == {"n": 5}


async def test_a_topic_that_is_cleared_is_no_reading_and_plain_text_goes_both_ways() -> None:
    relay = profile_of("relay", {
        "driver": "mqtt",
        "mqtt": {"topic": "stat/{serial}/POWER", "payload": "text", "command_topic": "cmnd/{serial}/POWER"},
        "point": {"on": {"type": "text", "writable": True, "at": {
            "value": "@", "choices": {"ON": "burning", "OFF": "dark"}, "command": "$value"}}},
    })  # fmt: skip
    lamp = attach("lamp", relay, {"serial": "A1"})
    line = {"host": "127.0.0.1", "client_id": "node"}
    async with broker() as server:
        ledger = Ledger()
        async with (
            aiomqtt.Client("127.0.0.1", server.port) as device,
            open_driver("mqtt", {**line, "port": server.port}, [lamp], ledger) as driver,
            listening(driver, [lamp.device], ledger),
        ):
            await until(lambda: driver.counters()["connected"])
            await device.subscribe("cmnd/A1/POWER", qos=1)
            for payload in ("ON", "", "OFF"):
                await device.publish("stat/A1/POWER", payload, qos=1, retain=True)
            await ledger.count(2)
            await until(lambda: driver.counters()["acknowledged"] == 3)
            await driver.write(lamp.device, relay.points["on"], "burning")
            async with asyncio.timeout(5):
                message = await anext(device.messages)
            assert message.payload == b"ON"
        assert [s.values for s in ledger.samples] == [{"on": "burning"}, {"on": "dark"}]
        assert not any(s.quality for s in ledger.samples)


async def test_when_the_node_cannot_keep_it_the_broker_does() -> None:
    async with broker() as server:
        ledger = Ledger()
        async with running(server, ledger) as driver:
            ledger.fail = NotStored("disk full")
            await publish(server, '{"n": 1}', '{"n": 2}')
            await until(lambda: driver.counters().get("disconnects"))
            assert driver.counters().get("acknowledged", 0) == 0
            ledger.fail = None
            await ledger.count(2)
            await until(lambda: driver.counters().get("acknowledged") == 2)
        assert numbers(ledger) == [1, 2]


async def test_the_receive_window_bounds_what_waits() -> None:
    async with broker() as server:
        ledger = Ledger()
        ledger.hold = []
        async with running(server, ledger, receive_maximum=10):
            await publish(server, *(f'{{"n": {n}}}' for n in range(30)))
            await ledger.count(10)
            await asyncio.sleep(0.1)
            assert len(ledger.hold) == 11  # ten, and the mark of the new session
            ledger.release()
            await ledger.count(30)
        assert numbers(ledger) == list(range(30))


async def test_a_broker_that_dies_is_found_again() -> None:
    async with broker() as server:
        ledger = Ledger()
        async with running(server, ledger) as driver:
            server.stop(signal.SIGKILL)
            await until(lambda: not driver.counters()["connected"])
            with pytest.raises(Unreachable):
                await driver.write(LAMP.device, BINS.points["level"], 10)
            await server.start()
            await until(lambda: driver.counters()["connected"])
            await publish(server, '{"n": 1}', qos=0)
            await ledger.count(1)


async def test_a_broker_that_has_forgotten_the_session_is_told_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    async with broker() as server:
        ledger = Ledger()
        async with running(server, ledger) as driver:
            assert driver.counters().get("sessions_forgotten", 0) == 0  # there never was one
            server.stop()
            await server.start()
            await until(lambda: driver.counters()["connects"] == 2)
            assert driver.counters().get("sessions_forgotten", 0) == 0  # it has kept it
            assert driver.notes() == []
            server.stop()
            server.forget()
            await server.start()
            await until(lambda: driver.counters().get("sessions_forgotten") == 1)
            await until(lambda: driver.counters()["connected"])
            (note,) = driver.notes()
            assert "had forgotten the session at 2" in note
            assert note.endswith("what it had queued for the node may be lost")
            assert sum("had forgotten the session" in m for m in caplog.messages) == 1
            await publish(server, '{"n": 1}')
            await ledger.count(1)
        server.stop()
        server.forget()
        await server.start()
        async with running(server, ledger) as driver:  # also where the node itself was away
            assert driver.counters()["sessions_forgotten"] == 1
        async with running(server, ledger, session_expiry_s=0) as driver:  # a session that is not meant to last
            assert driver.counters().get("sessions_forgotten", 0) == 0


async def test_wildcards_and_topics_that_nobody_knows() -> None:
    profile = profile_of("any", {**BIN, "mqtt": {"topic": "app/+/dev/{dev_eui}/#", "command_topic": "x"}})
    lamp = attach("lamp", profile, {"dev_eui": "AB"})
    async with broker() as server:
        ledger = Ledger()
        line = {"host": "127.0.0.1", "port": server.port, "client_id": "node"}
        async with (
            aiomqtt.Client("127.0.0.1", server.port) as client,
            open_driver("mqtt", line, [lamp], ledger) as driver,
            listening(driver, [lamp.device], ledger),
        ):
            await until(lambda: driver.counters()["connected"])
            await client.publish("app/7/dev/AB/event/up", '{"n": 1}', qos=1)
            await client.publish("app/8/dev/AB", '{"n": 2}', qos=1)
            await client.publish("app/8/dev/CD/x", '{"n": 3}', qos=1)
            await ledger.count(2)
        other = attach("lamp", BINS, {"serial": "A1"})  # the site file has changed; the broker still has the old filter
        async with (
            aiomqtt.Client("127.0.0.1", server.port) as client,
            open_driver("mqtt", line, [other], ledger) as driver,
            listening(driver, [other.device], ledger),
        ):
            await until(lambda: driver.counters()["connected"])
            await client.publish("app/7/dev/AB/event/up", '{"n": 4}', qos=1)
            await until(lambda: driver.counters().get("unknown_topics") == 1)
            await until(lambda: driver.counters().get("acknowledged") == 1)
        assert numbers(ledger) == [1, 2]


class Card(Ledger):
    """A ledger that keeps state too, as the node's card does."""

    def __init__(self) -> None:
        super().__init__()
        self.state: dict[str, bytes] = {}

    async def kept(self, prefix: str) -> dict[str, bytes]:
        return {k: v for k, v in self.state.items() if k.startswith(prefix)}

    async def keep(self, values: dict[str, bytes]) -> None:
        self.state |= values


def on_topics(**topics: str) -> list[Any]:
    """A device for each topic, without packet ids: by its number alone no publish is a repeat."""
    point = {"n": {"type": "int", "at": {"value": "n"}}}
    tables = {d: {"driver": "mqtt", "mqtt": {"topic": t}, "point": point} for d, t in topics.items()}
    return [attach(d, profile_of(f"of-{d}", table), {}) for d, table in tables.items()]


async def heard(server: Broker, ledger: Ledger, attached: list[Any], *topics: str) -> list[tuple[str, Any]]:
    """Which device has heard which of the publishes, numbered from 0; one more at the end shows that all have come."""
    last = on_topics(last="the/end")
    line = {"host": "127.0.0.1", "port": server.port, "client_id": "node", "session_expiry_s": 600}
    async with (
        aiomqtt.Client("127.0.0.1", server.port) as client,
        open_driver("mqtt", line, [*attached, *last], ledger) as driver,
        listening(driver, [a.device for a in (*attached, *last)], ledger),
    ):
        await until(lambda: driver.counters()["connected"])
        for n, topic in enumerate((*topics, "the/end")):
            await client.publish(topic, f'{{"n": {n}}}', qos=1)
        await until(lambda: any(s.device == "last" for s in ledger.samples))
        await until(lambda: driver.counters()["acknowledged"] == driver.counters()["publishes"])
        assert driver.counters().get("unknown_topics", 0) == 0
    found = [(s.device, s.values["n"]) for s in ledger.samples if s.device != "last"]
    ledger.samples.clear()
    return found


async def test_subscriptions_that_overlap_bring_each_publish_once() -> None:
    topics = on_topics(any="site/+/up", one="site/1/up", left="a/+/c", right="a/b/+")
    async with broker() as server:
        found = await heard(server, Card(), topics, "site/1/up", "site/2/up", "a/b/c", "a/x/c", "a/b/x")
    assert found == [("one", 0), ("any", 1), ("left", 2), ("right", 2), ("left", 3), ("right", 4)]


async def test_two_devices_on_one_topic_are_both_heard() -> None:
    async with broker() as server:
        found = await heard(server, Card(), on_topics(one="site/1/up", two="site/1/up"), "site/1/up")
    assert found == [("one", 0), ("two", 0)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"all": "site/#", "end": "+/1/up"}, {"one": "site/1/up"}),
        ({"any": "site/+/up", "end": "+/1/up"}, {"end": "+/1/up"}),
        ({"any": "site/+/up", "end": "+/1/up"}, {"all": "site/#", "end": "+/1/up"}),
        ({"end": "+/1/up", "any": "site/+/up"}, {"one": "site/1/+", "any": "site/+/up"}),
    ],
)
async def test_what_topics_that_overlapped_have_queued_is_kept_once_after_they_were_edited(
    before: dict[str, str], after: dict[str, str]
) -> None:
    async with broker() as server:
        card = Card()
        await heard(server, card, on_topics(**before))
        async with aiomqtt.Client("127.0.0.1", server.port) as client:
            await client.publish("site/1/up", '{"n": 7}', qos=1)
        found = await heard(server, card, on_topics(**after), "site/1/up")
        assert sorted(found) == sorted((d, n) for n in (0, 7) for d in after)


async def test_a_topic_that_was_edited_is_unsubscribed_and_what_it_had_queued_is_kept() -> None:
    async with broker() as server:
        card = Card()
        assert await heard(server, card, on_topics(one="site/+/up", gone="bins/1"), "site/1/up", "bins/1") == [
            ("one", 0), ("gone", 1),
        ]  # fmt: skip
        async with aiomqtt.Client("127.0.0.1", server.port) as client:
            await client.publish("site/1/up", '{"n": 7}', qos=1)
        found = await heard(server, card, on_topics(one="site/1/up"), "site/1/up", "bins/1", "site/2/up")
        assert found == [("one", 7), ("one", 0)]


def certificates(folder: Path) -> None:
    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=folder)

    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key",
            "-out", "ca.pem", "-days", "2", "-subj", "/CN=test ca")  # fmt: skip
    for name in ("server", "client"):
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key",
                "-out", f"{name}.csr", "-subj", f"/CN={name}")  # fmt: skip
        (folder / "san").write_text("subjectAltName=IP:127.0.0.1\n")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out",
                f"{name}.pem", "-days", "2", "-extfile", "san")  # fmt: skip
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755)


async def test_tls_with_a_client_certificate_and_what_is_said_without(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with tempfile.TemporaryDirectory() as name:  # not tmp_path: mosquitto reads it after dropping its rights
        await _tls(Path(name), caplog)


async def _tls(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    certificates(folder)
    extra = (
        f"cafile {folder}/ca.pem\ncertfile {folder}/server.pem\nkeyfile {folder}/server.key\nrequire_certificate true\n"
    )
    async with broker(extra) as server:
        ledger = Ledger()
        keys = {"ca": f"{folder}/ca.pem", "cert": f"{folder}/client.pem", "key": f"{folder}/client.key"}
        async with running(server, ledger, **keys) as driver:
            assert driver.counters()["connects"] == 1
        with caplog.at_level(logging.WARNING, "lamplighter"):
            async with node(server, ledger, ca=keys["ca"], timeout_s=0.5) as driver:
                task = asyncio.create_task(driver.listen([LAMP.device], ledger))
                await until(lambda: caplog.messages)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        assert "set cert and key" in caplog.messages[0]
        async with node(server, ledger, ca=f"{folder}/nothing.pem") as driver:
            with pytest.raises(Misconfigured, match=r"nothing\.pem cannot be read"):
                await driver.listen([LAMP.device], ledger)


async def test_a_broker_that_refuses_the_credentials_is_told_as_such() -> None:
    ledger = Ledger()
    async with broker("allow_anonymous false\n") as server, node(server, ledger, username="node") as driver:
        with pytest.raises(Misconfigured, match="Not authorized; see username and password_file, and what the broker"):
            async with asyncio.timeout(5):
                await driver.listen([LAMP.device], ledger)


async def test_who_is_thrown_out_by_a_client_of_the_same_name_hears_of_client_id(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ledger = Ledger()
    async with broker() as server, running(server, ledger) as driver:
        async with aiomqtt.Client("127.0.0.1", server.port, identifier="node"):
            await until(lambda: driver.counters().get("disconnects"))
        await until(lambda: caplog.messages)
        assert 'another client that calls itself client_id = "node"' in caplog.messages[0]


async def test_a_publish_beyond_all_bounds_is_not_sent_and_stops_nothing() -> None:
    async with broker() as server:
        ledger = Ledger()
        async with running(server, ledger, max_payload_bytes=64) as driver:
            await publish(server, " " * (1 << 20), " " * (PACKET_BYTES + 1), '{"n": 3}')
            samples = await ledger.count(2)
            await until(lambda: driver.counters()["acknowledged"] == 2)
            assert driver.counters().get("disconnects", 0) == 0
        assert samples[0].quality["n"] == "bad:the payload has 1048576 bytes"
        assert samples[1].values == {"n": 3}
