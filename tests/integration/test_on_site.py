"""Whoever stands at the cabinet acts: the command line, a real node, simulated lamps, and what the city makes of it."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge.web.reach import reach
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


ME = pwd.getpwuid(os.geteuid()).pw_name


def socket_of(lamps: Lamps) -> Path:
    found = Path(json.loads(lamps.stage.node_endpoints.read_text())["socket"])
    assert found.is_absolute()
    return found


@contextmanager
def at_the_socket(lamps: Lamps) -> Iterator[httpx.Client]:
    path = socket_of(lamps)
    with reach(path) as address, httpx.Client(transport=httpx.HTTPTransport(uds=address), base_url="http://x") as node:
        yield node


def type_in(lamps: Lamps, *words: str, lang: str = "en") -> subprocess.CompletedProcess[str]:
    """What a technician types, logged in on the node."""
    stage = lamps.stage
    endpoints = stage.directory / "endpoints.json"
    endpoints.write_text(json.dumps({"health": stage.health_url, "socket": str(socket_of(lamps))}))
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
        ("technician", 80, f"{ME} for jean"), ("hypervisor", 20, "m.dupont"),
    ]  # fmt: skip
    assert "20 %" in type_in(lamps, "why", "lamp-001").stdout
    done = type_in(lamps, "release", "lamp-001", "dim_level")
    assert (done.returncode, done.stderr) == (0, "")
    assert "read back 20 %: now hypervisor m.dupont" in done.stdout
    assert lamps.level(1) == 20
    until(lambda: lamps.ordered(order)["stage"] == "verified")
    logged = type_in(lamps, "log").stdout.splitlines()
    who = f"{ME} for jean (console)"
    assert [line.split(who)[1].strip() for line in logged if who in line] == [
        "lamp-001: set dim_level to 80 % for 2 h (verified, read back 80 %)",
        "lamp-001: released dim_level (verified, read back 20 %)",
    ]


def test_the_city_is_told_of_orders_that_it_has_not_given(lamps: Lamps) -> None:
    body = {"order": "command", "by": "jean", "device": "lamp-002", "point": "dim_level", "value": 55}
    with at_the_socket(lamps) as node:
        answer = node.post("/orders", json=body)
        assert answer.status_code == 202, answer.text
        order = answer.json()["id"]
        until(lambda: node.get(f"/orders/{order}").json()["final"])
        found = node.get(f"/orders/{order}").json()
    assert found == {
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
    assert found["stages"][0]["detail"] == f"given at the cabinet by {ME} for jean: 55 for 7200 s"
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
    assert (alarm["state"], alarm["by"]) == ("acknowledged", f"{ME} for j.martin")
    until(lambda: lamps.stage.get("/v1/alarms")["alarms"][0]["state"] == "acknowledged")
    done = type_in(lamps, "shelve", alarm["id"], "--for", "8h", "--note", "cable repair")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("lamp-002 by-hand: shelved until ")
    done = type_in(lamps, "unshelve", "lamp-002")
    assert (done.returncode, done.stdout) == (0, "lamp-002 by-hand: acknowledged\n")


@pytest.mark.parametrize("host", ["127.0.0.1", "evil.example.org"])
def test_a_proxy_before_the_node_lets_nobody_act(lamps: Lamps, host: str) -> None:
    """nginx with `proxy_pass` and its defaults: it connects from this machine, and adds no header that tells."""
    url = lamps.stage.health_url.replace("/health", "/orders")
    body = {"order": "command", "by": "evil", "device": "lamp-001", "point": "dim_level", "value": 0, "for_s": 86_400}
    for headers in ({}, {"Origin": "http://evil.example.org"}, {"X-Forwarded-For": "127.0.0.1"}):
        answer = httpx.post(url, json=body, headers={"Host": host, **headers}, timeout=10)
        assert answer.status_code == (403 if host == "127.0.0.1" else 421), headers
        assert answer.json()["error"]
    counters = lamps.stage.health()["counters"]
    assert (counters["orders_accepted"], counters["orders_refused"]) == (0, 0)
    assert lamps.level(1) == 35


@pytest.mark.skipif(os.geteuid() != 0, reason="to be another user one must be root")
def test_another_user_of_this_machine_is_no_technician(lamps: Lamps) -> None:
    path = socket_of(lamps)
    for folder in path.parents:
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    body = json.dumps({"order": "command", "device": "lamp-001", "point": "dim_level", "value": 0})
    request = "POST /orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
    request += f"Content-Length: {len(body)}\r\n\r\n{body}"
    script = (
        "import os, socket, sys\n"
        "os.setgroups([]); os.setgid(54321); os.setuid(54321)\n"
        "with socket.socket(socket.AF_UNIX) as s:\n"
        "    s.connect(sys.argv[1]); s.sendall(sys.argv[2].encode())\n"
        "    while piece := s.recv(65536): sys.stdout.buffer.write(piece)\n"
    )
    done = subprocess.run(["python3", "-c", script, str(path), request], capture_output=True, text=True, check=True)
    assert "403 Forbidden" in done.stdout
    assert "uid 54321 is no technician here" in done.stdout
    assert lamps.level(1) == 35


def test_a_node_that_was_killed_takes_orders_again(lamps: Lamps) -> None:
    assert socket_of(lamps).is_socket()
    running, killed = (lamps.stage.directory / f"{name}.zip" for name in ("running", "killed"))
    assert type_in(lamps, "support", str(running)).returncode == 0
    lamps.stage.node.kill()
    assert socket_of(lamps).is_socket(), "it is left behind"
    assert type_in(lamps, "support", str(killed)).returncode == 0
    token = (lamps.stage.directory / "node.token").read_text().strip()
    for file, has in ((running, "frames.json"), (killed, "check.txt")):
        with zipfile.ZipFile(file) as found:
            assert {has, "health.json", "node.toml"} <= set(found.namelist())
            assert json.loads(found.read("health.json"))["devices"] == 2
            assert all(token.encode() not in found.read(name) for name in found.namelist())
    lamps.stage.start_node()
    with at_the_socket(lamps) as node:
        assert node.get("/quarantine").json() == []
    assert type_in(lamps, "quarantine", "list").stdout == "nothing is set aside\n"
    assert type_in(lamps, "quarantine", "send").stdout == "0 rows are on their way again\n"


def test_the_running_node_identifies_what_is_on_its_line(lamps: Lamps) -> None:
    done = type_in(lamps, "identify", "--unit", "2")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("unit 2\n  this is lamp-002\n  lx-1 fits: 18 of 18 points\n")
    done = type_in(lamps, "identify", "--unit", "9", "--seconds", "20", lang="fr")
    assert (done.returncode, done.stdout) == (1, "ligne north : rien ne répond\n")
    assert lamps.level(1) == 35
    assert lamps.get("/identify") == {"unheard": []}
    done = type_in(lamps, "identify")
    assert (done.returncode, done.stdout) == (0, "all devices have been heard since the start\n")
    frames = lamps.get("/frames/lamp-001")
    assert any("dim_level" in field["name"] for frame in frames for field in frame["fields"])


def test_the_command_line_says_what_the_page_says(lamps: Lamps) -> None:
    done = type_in(lamps, "status")
    assert done.returncode in (0, 1), done.stderr
    page = httpx.get(lamps.stage.health_url.replace("/health", "/"), headers={"Accept-Language": "fr"}, timeout=20).text
    french = type_in(lamps, "status", lang="fr").stdout.splitlines()
    assert french[0].partition(": ")[2] in page
    lines = type_in(lamps, "devices").stdout
    assert "lamp-001" in lines
    assert {s["id"]: s["state"] for s in lamps.stage.health()["device_states"]}["lamp-001"] == "good"
    done = type_in(lamps, "watch", "lamp-001", "--count", "2")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert "dim_level=35 %" in first
    assert first != second
    assert type_in(lamps, "watch", "lamp-999").returncode == 1


def test_the_metrics_are_those_of_health(lamps: Lamps) -> None:
    url = lamps.stage.health_url.replace("/health", "/metrics")
    answer = httpx.get(url, timeout=20)
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found = {s.name: s.value for f in text_string_to_metric_families(answer.text) for s in f.samples if not s.labels}
    assert 0 < found["lamplighter_node_polls_total"] <= lamps.stage.health()["counters"]["polls"]
    assert found["lamplighter_node_outbox_limit_bytes"] == lamps.stage.health()["outbox_limit_bytes"]


def test_a_lamp_is_tried_and_given_back(lamps: Lamps) -> None:
    done = type_in(lamps, "test", "lamp-001", "off", "--for", "10s")
    assert (done.returncode, done.stderr) == (0, "")
    assert "back to automatic in " in done.stdout
    assert "lamp-001 is given back" in done.stdout
    assert lamps.level(1) == 35
    # Whoever is killed leaves a lamp that the node itself gives back.
    stage = lamps.stage
    endpoints = stage.directory / "endpoints.json"
    command = [BIN / "lamplighter-edge", "test", "lamp-001", "blink", "--for", "10s"]
    command += ["--config", stage.directory / "node.toml", "--endpoints", endpoints]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**stage.environment, "PATH": "/usr/bin"}) as typing:
        until(lambda: lamps.level(1) == 100)
        until(lambda: lamps.level(1) == 0)
        typing.kill()
    until(lambda: lamps.level(1) == 35, within_s=20)
    told = [line for line in type_in(lamps, "log").stdout.splitlines() if "blink" in line]
    assert len(told) == 1, "it was one order"
    assert "let dim_level blink for 10 s (verified" in told[0]
