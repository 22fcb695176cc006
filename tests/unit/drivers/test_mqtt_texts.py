"""Publishes and commands that are plain text, other encodings, and publishes that are nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conformance.driver_rigs import attach, open_driver, profile_of
from drivers.errors import Refused
from drivers.mqtt.payload import Payload
from drivers.profile import Profile
from unit.drivers.test_inboxes import PLAIN, Bench
from unit.drivers.test_profile import HEAD, problems_of
from wire.sample import Value


def text_profile(at: dict[str, Any] | None = None, type_: str = "text", **whole: Any) -> Profile:
    return profile_of("relay", {
        "driver": "mqtt",
        "mqtt": {"topic": "stat/{serial}/POWER", "payload": "text", **whole},
        "point": {"n": {"type": type_, "at": {"value": "@", **(at or {})}}},
    })  # fmt: skip


@pytest.mark.parametrize(
    ("type_", "at", "payload", "value", "why"),
    [
        ("text", {}, b"Online", "Online", None),
        ("text", {}, b" unavailable\r\n", "unavailable", None),
        ("text", {}, b'{"a": 1}', '{"a": 1}', None),
        ("text", {}, b"23", "23", None),
        ("text", {"choices": {"ON": "burning", "OFF": "dark"}}, b"ON", "burning", None),
        ("text", {"choices": {"ON": "burning", "OFF": "dark"}}, b"on", None, "code 'on' has no known meaning"),
        ("float", {}, b"23.5", 23.5, None),
        ("float", {"scale": 0.1}, b"-235", -23.5, None),
        ("float", {}, b"1e3", 1000.0, None),
        ("int", {}, b"+12", 12, None),
        ("int", {}, b"1.5", None, "1.5 is not a whole number"),
        ("float", {}, b"unavailable", None, "'unavailable' is not a number"),
        ("float", {}, b"nan", None, "'nan' is not a number"),
        ("float", {}, b"1_000", None, "'1_000' is not a number"),
        ("int", {}, b"9" * 5000, None, "is not a whole number"),
        ("bool", {}, b"ON", True, None),
        ("bool", {}, b"false", False, None),
        ("bool", {}, b"1", True, None),
        ("bool", {}, b"Online", None, "'Online' is neither true nor false"),
    ],
)
async def test_a_payload_that_is_one_plain_text(
    type_: str, at: dict[str, Any], payload: bytes, value: Value, why: str | None
) -> None:
    bench = Bench(text_profile(at, type_))
    bench.take(payload, topic="stat/7/POWER")
    ((sample, _),) = bench.node.got
    assert sample.values == {"n": value}
    assert type(sample.values["n"]) is type(value)
    assert (why is None and not sample.quality) or why in sample.quality["n"]  # type: ignore[operator]


@pytest.mark.parametrize("payload", ["json", "text"])
async def test_an_empty_publish_clears_a_topic_and_is_no_reading(payload: str) -> None:
    bench = Bench(text_profile() if payload == "text" else PLAIN)
    topic = "stat/7/POWER" if payload == "text" else "bins/7/up"
    bench.take(b"", mid=3, topic=topic)
    bench.take(b"", mid=4, topic=topic, retain=True)
    bench.take(b"", mid=0, qos=0, topic=topic)
    await bench.acknowledge()
    assert bench.node.got == []
    assert bench.session.acknowledged == [3, 4]
    assert bench.counts["cleared"] == 3
    assert bench.counts["unreadable"] == 0


async def test_texts_are_read_as_the_profile_says() -> None:
    for encoding, payload, value in (
        ("utf-8", "Dijon, rue de la Liberté".encode(), "Dijon, rue de la Liberté"),
        ("latin-1", "Liberté".encode("latin-1"), "Liberté"),
        ("cp1252", "5 €".encode("cp1252"), "5 €"),
        ("utf-8", "Liberté".encode("latin-1"), None),
        ("cp1252", b"\x81", None),
    ):
        bench = Bench(text_profile(encoding=encoding))
        bench.take(payload, topic="stat/7/POWER")
        ((sample, _),) = bench.node.got
        assert sample.values == {"n": value}
        assert value is not None or f"no text in {encoding}; encoding names another" in sample.quality["n"]


async def test_json_in_another_encoding() -> None:
    profile = profile_of("old", {
        "driver": "mqtt",
        "mqtt": {"topic": "bins/{serial}/up", "encoding": "latin-1"},
        "point": {"n": {"type": "text", "at": {"value": "name"}}},
    })  # fmt: skip
    bench = Bench(profile)
    bench.take('{"name": "été"}'.encode("latin-1"), '{"name": "été'.encode("latin-1"))
    assert [s.values["n"] for s, _ in bench.node.got] == ["été", None]


class Session:
    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes]] = []

    async def publish(self, topic: str, payload: bytes) -> None:
        self.sent.append((topic, payload))


async def commanded(type_: str, command: str, value: Value, choices: dict[str, str] | None = None, **whole: Any) -> Any:
    at = {"value": "@", "command": command, **({} if choices is None else {"choices": choices})}
    profile = profile_of("relay", {
        "driver": "mqtt",
        "mqtt": {"topic": "s", "command_topic": "cmnd/{serial}/POWER", **whole},
        "point": {"n": {"type": type_, "writable": True, "at": at}},
    })  # fmt: skip
    relay = attach("relay", profile, {"serial": "A1"})
    driver = open_driver("mqtt", {"host": "nowhere", "client_id": "c"}, [relay], None)
    driver._session = session = Session()
    await driver.write(relay.device, profile.points["n"], value)
    return session.sent


async def test_a_command_that_is_plain_text_has_no_quotes() -> None:
    on = {"ON": "burning", "OFF": "dark"}
    topic = "cmnd/A1/POWER"
    assert await commanded("text", "$value", "burning", on, payload="text") == [(topic, b"ON")]
    assert await commanded("text", "$value", "burning", on, command_payload="text") == [(topic, b"ON")]
    assert await commanded("text", "$value", "burning", on) == [(topic, b'"ON"')]
    assert await commanded("text", '{"s": $value}', "dark", on, payload="text", command_payload="json") == [
        (topic, b'{"s": "OFF"}')
    ]
    assert await commanded("float", "Dimmer $value;", 40, payload="text") == [(topic, b"Dimmer 40;")]
    assert await commanded("bool", "$value", True, payload="text") == [(topic, b"true")]
    assert await commanded("text", "$value", "été", payload="text", encoding="latin-1") == [(topic, b"\xe9t\xe9")]
    with pytest.raises(Refused, match="takes texts in latin-1"):
        await commanded("text", "$value", "5 €", payload="text", encoding="latin-1")


@pytest.mark.parametrize(
    ("whole", "point", "told"),
    [
        ('payload = "txt"', "", 'mqtt.payload: is "txt" (did you mean "text"?)'),
        ('encoding = "latin1"', "", 'mqtt.encoding: is "latin1" (did you mean "latin-1"?)'),
        ('time = "t"\ntime_zone = "Paris"', "", 'mqtt.time_zone: is no time zone; write an IANA name, such as "Europe'),
        ('time_zone = "UTC"', "", "mqtt.time_zone: goes with time"),
        ('reception = ["rsi"]', "", 'mqtt.reception: there is no point "rsi" (did you mean "rssi"?)'),
        ('packet_id = "i"\nreception = ["rssi"]', "", "mqtt.reception: names every point"),
        (
            'command_topic = "c"\npayload = "text"',
            "ON",
            'point.rssi.at: is writable: write command = "$value", the text',
        ),
        ('command_topic = "c"', "$value $value", "point.rssi.at: is writable: write command = '{\"KEY\": $value}'"),
    ],
)
def test_what_check_says_of_it(tmp_path: Path, whole: str, point: str, told: str) -> None:
    writable = f"writable = true\nat = {{ value = \"@\", command = '{point}' }}" if point else 'at = { value = "@" }'
    text = f'{HEAD}driver = "mqtt"\n[mqtt]\ntopic = "a"\n{whole}\n[point.rssi]\ntype = "int"\n{writable}\n'
    (problem,) = problems_of(tmp_path, text)
    assert problem.startswith(f"p0.toml: {told}")


@pytest.mark.parametrize(
    ("body", "fill", "why"),
    [
        (b'{"n": 1, "fill": NaN}', None, "bad:not a finite number"),
        (b'{"n": 1, "fill": -Infinity}', None, "bad:not a finite number"),
        (b'{"n": 1, "fill": 1e400}', None, "bad:not a finite number"),
        (b'{"n": 1, "fill": 2.5}\0', 2.5, None),
        (b'\xef\xbb\xbf{"n": 1, "fill": 2.5}', 2.5, None),
    ],
)
def test_what_is_no_json_in_one_place_does_not_take_the_other_values_with_it(
    body: bytes, fill: float | None, why: str | None
) -> None:
    points = {"n": {"type": "int", "at": {"value": "n"}}, "fill": {"type": "float", "at": {"value": "fill"}}}
    profile = profile_of("p", {"driver": "mqtt", "mqtt": {"topic": "t/{serial}"}, "point": points})
    reading = Payload(profile).read(body)
    assert reading.values == {"n": 1, "fill": fill}
    assert reading.quality.get("fill") == why
