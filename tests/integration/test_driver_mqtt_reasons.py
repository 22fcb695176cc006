"""Why there is no connection to a broker: the system's and the broker's reasons in words, with what to look at."""

from __future__ import annotations

import asyncio
import gc
import logging
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from conformance.driver_rigs import BIN, Ledger, attach, broker, free_port, open_driver, profile_of, until
from drivers.errors import Misconfigured
from integration.test_driver_mqtt import certificates

LAMP = attach("lamp", profile_of("test-bin", BIN), {"serial": "A1"})


@asynccontextmanager
async def server(answer: bytes | None, tls: ssl.SSLContext | None = None, *, stays: bool = False) -> AsyncIterator[int]:
    """Answers CONNECT with these bytes and closes, or stays; None: says nothing at all."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        if answer is None:
            await reader.read()
        else:
            writer.write(answer)
            if stays:
                await reader.read()
        writer.close()

    listening = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=tls)
    async with listening:
        yield listening.sockets[0].getsockname()[1]


async def why(caplog: pytest.LogCaptureFixture, **line: Any) -> str:
    """What is said, and noted for health, of a line that does not connect."""
    caplog.clear()
    keys = {"host": "127.0.0.1", "client_id": "node", **line}
    ledger = Ledger()
    with caplog.at_level(logging.WARNING):
        async with open_driver("mqtt", keys, [LAMP], ledger) as driver:
            task = asyncio.create_task(driver.listen([LAMP.device], ledger))
            try:
                await until(lambda: caplog.messages or task.done(), timeout_s=20)
                if task.done():
                    await task
                assert driver.notes() == caplog.messages[:1]
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
    return caplog.messages[0]


async def test_nobody_there(caplog: pytest.LogCaptureFixture) -> None:
    assert "Connection refused (nobody listens there; see host and port" in await why(caplog, port=free_port())
    told = await why(caplog, host="nowhere.invalid")
    assert told.startswith("broker nowhere.invalid, port 1883: ")
    assert told.endswith("(see host, and the name server)")


async def test_an_answer_that_does_not_come(caplog: pytest.LogCaptureFixture) -> None:
    async with server(None) as port:
        assert await why(caplog, port=port, timeout_s=0.3) == f"broker 127.0.0.1, port {port}: Operation timed out"


async def test_a_connection_that_ends_before_the_answer_is_told_at_once(caplog: pytest.LogCaptureFixture) -> None:
    async with server(b"") as port:
        told = await why(caplog, port=port, timeout_s=60)
    assert told.endswith("the broker closed the connection (it may want TLS on this port, or know no MQTT 5)")


@pytest.mark.parametrize("answer", [b"\x20\x02\x00\x01", b"\x20\x03\x00\x84\x00"], ids=["3.1.1", "5"])
async def test_a_broker_that_does_not_speak_mqtt_5(caplog: pytest.LogCaptureFixture, answer: bytes) -> None:
    async with server(answer) as port:
        with pytest.raises(
            Misconfigured, match=r"does not speak MQTT 5, which the node needs; see docs/mqtt-broker\.md"
        ):
            await why(caplog, port=port, timeout_s=60)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (0, "does not speak MQTT 5"),
        (2, "broker 127.0.0.1 refused: client_id not accepted (code 2)"),
        (4, "broker 127.0.0.1 refused: bad user name or password (code 4): check username and password_file"),
        (5, "broker 127.0.0.1 refused: not authorised (code 5): check username and password_file"),
    ],
)
async def test_a_broker_of_mqtt_3_that_refuses_in_its_own_form(
    caplog: pytest.LogCaptureFixture, code: int, told: str
) -> None:
    async with server(bytes((0x20, 2, 0, code))) as port:
        with pytest.raises(Misconfigured) as caught:
            await why(caplog, port=port, timeout_s=60)
    assert told in str(caught.value)


async def test_a_broker_of_mqtt_3_that_is_not_available_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    async with server(b"\x20\x02\x00\x03") as port:
        assert "refused: it is not available now (code 3)" in await why(caplog, port=port, timeout_s=60)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "is not MQTT but HTTP; see host, port and tls"),
        (b"<!DOCTYPE HTML>\n<html>", "is not MQTT but HTTP; see host"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "is not MQTT without TLS: set tls = true, or ca; see"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", 'is not MQTT: it says "SSH-2.0-OpenSSH_9.2p1"; see host'),
        (b"\x00\x00\x00\x00", "is not MQTT; see host"),
    ],
    ids=["http", "html", "tls", "ssh", "noise"],
)
async def test_what_answers_is_not_mqtt(caplog: pytest.LogCaptureFixture, answer: bytes, told: str) -> None:
    async with server(answer, stays=True) as port:
        assert f"what answers at 127.0.0.1, port {port}, {told}" in await why(caplog, port=port, timeout_s=60)


async def test_an_answer_with_a_code_that_nobody_knows_is_told_at_once(caplog: pytest.LogCaptureFixture) -> None:
    async with server(b"\x20\x03\x00\xee\x00", stays=True) as port:
        assert "cannot be read" in await why(caplog, port=port, timeout_s=60)


async def test_a_broker_that_has_trouble_itself_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    async with server(b"\x20\x03\x00\x88\x00") as port:
        assert "Server unavailable" in await why(caplog, port=port, timeout_s=60)


# paho leaves the socket of a handshake that has failed to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore:unclosed:ResourceWarning")
async def test_tls(caplog: pytest.LogCaptureFixture) -> None:
    with tempfile.TemporaryDirectory() as name:  # not tmp_path: mosquitto reads it after dropping its rights
        folder = Path(name)
        certificates(folder)
        ca = f"{folder}/ca.pem"
        extra = f"cafile {ca}\ncertfile {folder}/server.pem\nkeyfile {folder}/server.key\nrequire_certificate true\n"
        async with broker(extra) as one:
            told = await why(caplog, port=one.port, ca=ca, timeout_s=60)
            assert "certificate required" in told.lower()
            assert told.endswith("(the broker wants a client certificate: set cert and key)")
            told = await why(caplog, port=one.port, tls=True, timeout_s=60)
            assert told.endswith("(see ca, the names in the broker's certificate, and the node's clock)")
            assert "_ssl.c" not in told
            told = await why(caplog, port=one.port, timeout_s=60)
            assert told.endswith("(it may want TLS on this port, or know no MQTT 5)")
            told = await why(caplog, port=one.port, ca=ca, host="localhost", timeout_s=60)
            assert "certificate is not valid for 'localhost'" in told
        async with broker() as one:
            told = await why(caplog, port=one.port, ca=ca, timeout_s=60)
            assert told.endswith("speak no TLS on this port; see port and tls)")
    gc.collect()


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"host": "broker..example"}, "host 'broker..example' is no name of a host"),
        ({"host": "a" * 64 + ".example"}, "is no name of a host"),
        ({"username": "node", "password": "x" * 65_536}, "password or username has more than the 65535 bytes"),
    ],
)
async def test_keys_that_no_broker_can_be_asked_with(keys: dict[str, Any], told: str) -> None:
    ledger = Ledger()
    line = {"host": "127.0.0.1", "port": free_port(), "client_id": "node", **keys}
    async with open_driver("mqtt", line, [LAMP], ledger) as driver:
        with pytest.raises(Misconfigured, match=told):
            await driver.listen([LAMP.device], ledger)
