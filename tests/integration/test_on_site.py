"""Whoever stands at the cabinet acts: the command line, a real node, simulated lamps, and what the city makes of it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from stage import BIN
from support.lamps import Lamps, playing, until

RULES = """
[[rule]]
name = "by-hand"
on = { kind = "streetlight" }
when = "mode == 'manual'"

[rule.alarm]
severity = "low"
respond_within_s = 3600
text = { en = "In manual mode", fr = "En mode manuel" }
"""


@pytest.fixture
def lamps(tmp_path: Path) -> Iterator[Lamps]:
    with playing(tmp_path, rules=RULES) as found:
        yield found


def type_in(lamps: Lamps, *words: str, lang: str = "en") -> subprocess.CompletedProcess[str]:
    """What a technician types, logged in on the node."""
    stage = lamps.stage
    endpoints = stage.directory / "endpoints.json"
    endpoints.write_text(json.dumps({"health": stage.health_url}))
    command = [BIN / "lamplighter-edge", *words, "--config", stage.directory / "node.toml", "--endpoints", endpoints]
    return subprocess.run(
        [*command, "--lang", lang],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**stage.environment, "SUDO_USER": "jean", "PATH": "/usr/bin:/bin"},
    )


def test_a_technician_sets_a_lamp_above_the_control_room_and_gives_it_back(lamps: Lamps) -> None:
    done = type_in(lamps, "set", "lamp-001", "dim_level", "80", "--for", "2h")
    assert (done.returncode, done.stderr) == (0, "")
    assert ", read back 80 %\n" in done.stdout
    assert "verified in " in done.stdout
    assert lamps.level(1) == 80
    why = type_in(lamps, "why", "lamp-001").stdout
    assert why.startswith("dim_level: 80 % because ")
    assert "technician" in why
    assert "jean" in why
    order = lamps.command("room", 20)
    until(lambda: lamps.ordered(order)["stage"] == "accepted")
    assert lamps.level(1) == 80, "it waits below"
    (decided,) = lamps.get("/control/lamp-001")
    assert [(h["level"], h["value"], h["by"]) for h in decided["levels"][:2]] == [
        ("technician", 80, "jean"), ("hypervisor", 20, "m.dupont"),
    ]  # fmt: skip
    assert "20 %" in type_in(lamps, "why", "lamp-001").stdout
    done = type_in(lamps, "release", "lamp-001", "dim_level")
    assert (done.returncode, done.stderr) == (0, "")
    assert "read back 20 %: now hypervisor m.dupont" in done.stdout
    assert lamps.level(1) == 20
    until(lambda: lamps.ordered(order)["stage"] == "verified")


def test_the_city_is_told_of_orders_that_it_has_not_given(lamps: Lamps) -> None:
    url = lamps.stage.health_url.replace("/health", "/orders")
    body = {"order": "command", "by": "jean", "device": "lamp-002", "point": "dim_level", "value": 55}
    answer = httpx.post(url, json=body, timeout=10)
    assert answer.status_code == 202, answer.text
    order = answer.json()["id"]
    until(lambda: httpx.get(f"{url}/{order}", timeout=10).json()["final"])
    assert httpx.get(f"{url}/{order}", timeout=10).json() == {
        "id": order, "stage": "verified", "final": True, "read_back": 55.0, "detail": "",
    }  # fmt: skip

    def told() -> bool:
        found = lamps.stage.http.get(
            f"{lamps.stage.cloud_url}/v1/commands/{order}",
            headers={"Authorization": f"Bearer {lamps.stage.tokens['reader']}"},
        )
        return found.status_code == 200 and found.json()["orders"][0]["final"]

    until(told)
    found = lamps.ordered(order)
    assert (found["known"], found["node"], found["stage"]) == (False, "cab-lamps", "verified")
    assert (found["device"], found["point"]) == ("lamp-002", "dim_level")
    assert [s["stage"] for s in found["stages"]] == ["accepted", "applied", "verified"]
    assert found["stages"][0]["detail"] == "given at the cabinet by jean: 55 for 7200 s"
    assert found["stages"][-1]["read_back"] == 55


def test_what_cannot_be_set_is_told_with_the_reason(lamps: Lamps) -> None:
    for words, said in (
        (("set", "lamp-001", "dim_level", "180"), "dim_level takes 0 to 100 %, not 180"),
        (("set", "lamp-01", "dim_level", "80"), 'did you mean "lamp-001"'),
        (("set", "lamp-001", "dim_levl", "80"), 'did you mean "dim_level"'),
        (("acknowledge", "nothing"), "no alarm nothing stands on this node"),
    ):
        done = type_in(lamps, *words)
        assert (done.returncode, done.stdout) == (1, "")
        assert said in done.stderr
    assert lamps.level(1) == 35


def test_a_technician_acknowledges_and_shelves_an_alarm(lamps: Lamps) -> None:
    assert type_in(lamps, "alarms").stdout == "no alarm stands\n"
    lamps.set(2, 14, 1)
    until(lambda: lamps.get("/alarms"))
    listed = type_in(lamps, "alarms", lang="fr")
    assert (listed.returncode, listed.stderr) == (0, "")
    heading, line = listed.stdout.splitlines()
    assert heading.split()[:2] == ["depuis", "gravité"]
    assert "\x1b" not in listed.stdout
    for word in ("basse", "lamp-002", "by-hand", "apparue", "En mode manuel"):
        assert word in line
    done = type_in(lamps, "acknowledge", "lamp-002", "by-hand", "--by", "j.martin")
    assert (done.returncode, done.stdout) == (0, "lamp-002 by-hand: acknowledged\n")
    (alarm,) = lamps.get("/alarms")
    assert (alarm["state"], alarm["by"]) == ("acknowledged", "j.martin")
    until(lambda: lamps.stage.get("/v1/alarms")["alarms"][0]["state"] == "acknowledged")
    done = type_in(lamps, "shelve", alarm["id"], "--for", "8h", "--note", "cable repair")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("lamp-002 by-hand: shelved until ")
    done = type_in(lamps, "unshelve", "lamp-002")
    assert (done.returncode, done.stdout) == (0, "lamp-002 by-hand: acknowledged\n")


def test_what_a_browser_could_be_tricked_into_reaches_nothing(lamps: Lamps) -> None:
    url = lamps.stage.health_url.replace("/health", "/orders")
    body = {"order": "command", "by": "evil", "device": "lamp-001", "point": "dim_level", "value": 0}
    for headers, status in (
        ({"Origin": "http://evil.example.org"}, 403),
        ({"Host": "evil.example.org"}, 403),
        ({"X-Forwarded-For": "127.0.0.1"}, 403),
        ({"Content-Type": "text/plain"}, 415),
    ):
        answer = httpx.post(url, json=body, headers=headers, timeout=10)
        assert answer.status_code == status, headers
        assert answer.json()["error"]
    counters = lamps.stage.health()["counters"]
    assert (counters["orders_accepted"], counters["orders_refused"]) == (0, 0)
    assert lamps.level(1) == 35
