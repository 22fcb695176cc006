"""The API as it describes itself: every route is in the description, every answer is as described, every error is a
problem; and the verbs of the command line beside it.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import socket
import sqlite3
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from cloud import cli
from cloud.api import openapi
from cloud.app import application
from cloud.metrics import Metrics
from cloud.sqlite.tokens import tokens_of
from cloud.store import opened
from support.cloud_batches import SECOND, Sender, Ticking, Weather, columns, roster
from support.cloud_process import Process
from wire.batch import Lane
from wire.entries import Alarm, Gap, Health

NOW_US = time.time_ns() // 1000
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path)
    yield process
    process.close()


def fill(cloud: Process) -> None:
    sender = Sender()
    alarm = Alarm(
        id="a", device="lamp-001", rule="r", severity="high", state="raised", raised_us=NOW_US, time_us=NOW_US
    )
    health = Health(time_us=NOW_US, verdict="ok")
    gap = Gap(reason="full", lost=3, seqs=3, from_us=NOW_US, to_us=NOW_US)
    cloud.push(sender.batch(roster("lamp-001", "a/b"), alarm, health, gap, lane=Lane.URGENT))
    cloud.push(sender.batch(columns(n=9, at_us=NOW_US, t=None), columns("a/b", n=1, at_us=NOW_US), ahead=4))
    cloud.push(Sender(epoch=8).batch(columns(n=1, at_us=NOW_US + SECOND)))
    cloud.push(Sender("cab-2").batch(columns(n=1, at_us=NOW_US)))


def test_every_answer_is_as_described(cloud: Process) -> None:
    cloud.start()
    fill(cloud)
    described = cloud.get("/openapi.json")
    OpenAPIV31SpecValidator(described).validate()

    def check(path: str, status: int, template: str, **query: Any) -> Any:
        answer = cloud.client.get(cloud.url + path, params=query, headers=cloud.bearer())
        assert answer.status_code == status, answer.text
        content = described["paths"][template]["get"]["responses"][str(status)]["content"]
        media = answer.headers["content-type"].partition(";")[0]
        schema = {**content[media]["schema"], "components": described["components"]}
        Draft202012Validator(schema).validate(answer.json())
        return answer.json()

    check("/healthz", 200, "/healthz")
    check("/readyz", 200, "/readyz")
    check("/openapi.json", 200, "/openapi.json")
    city = check("/v1/latest", 200, "/v1/latest")
    assert [d["id"] for d in city["devices"]] == ["a/b", "lamp-001"]
    check("/v1/latest", 400, "/v1/latest", quality="fine")
    page = check("/v1/nodes", 200, "/v1/nodes", limit=1)
    assert page["next"] == "cab-1"
    ledger = page["nodes"][0]["ledger"]
    assert ledger["unfinished"]
    assert ledger["forks"]
    assert ledger["conflicts"] == [{"device": "lamp-001", "nodes": ["cab-1", "cab-2"]}]
    check("/v1/nodes/cab-1", 200, "/v1/nodes/{node}")
    check("/v1/nodes/cab-9", 404, "/v1/nodes/{node}")
    check("/v1/nodes", 400, "/v1/nodes", limit=0)
    check("/v1/devices", 200, "/v1/devices", kind="streetlight", node="cab-1")
    check("/v1/devices", 400, "/v1/devices", limit="many")
    assert check("/v1/devices/a/b", 200, "/v1/devices/{device}")["device"]["id"] == "a/b"
    assert check("/v1/devices/a%2Fb", 200, "/v1/devices/{device}")["device"]["id"] == "a/b"
    check("/v1/devices/nobody", 404, "/v1/devices/{device}")
    readings = "/v1/devices/{device}/readings"
    page = check("/v1/devices/lamp-001/readings", 200, readings, limit=4, point=["n", "t"])
    assert (len(page["rows"]), page["rows"][0]["values"]) == (4, {"n": 0, "t": None})
    assert check("/v1/devices/a%2Fb/readings", 200, readings)["rows"][0]["values"] == {"n": 0}
    check("/v1/devices/lamp-001/readings", 400, readings, **{"from": "yesterday"})
    check("/v1/devices/lamp-001/readings", 400, readings, to="2026-01-01T00:00:00")
    check("/v1/devices/lamp-001/readings", 400, readings, cursor="x")
    check("/v1/devices/lamp-001/readings", 400, readings, limit=5_001)
    check("/v1/alarms", 200, "/v1/alarms", state="raised", severity="high")
    assert [a["id"] for a in check("/v1/alarms", 200, "/v1/alarms", device="lamp-001")["alarms"]] == ["a"]
    check("/v1/alarms", 400, "/v1/alarms", state="loud")
    given = {"device": "lamp-001", "point": "n", "value": 1, "expires_in_s": 60}
    for body, status in ((given, 202), ({**given, "point": "m"}, 422), ({**given, "device": "x"}, 404), ({}, 400)):
        answer = cloud.order("/v1/commands", body)
        assert answer.status_code == status, answer.text
        content = described["paths"]["/v1/commands"]["post"]["responses"][str(status)]["content"]
        media = answer.headers["content-type"].partition(";")[0]
        schema = {**content[media]["schema"], "components": described["components"]}
        Draft202012Validator(schema).validate(answer.json())
        if status == 202:
            taken = described["paths"]["/v1/commands"]["post"]["requestBody"]["content"]["application/json"]["schema"]
            Draft202012Validator({**taken, "components": described["components"]}).validate(body)
            group = answer.json()["group"]
    check("/v1/commands", 200, "/v1/commands", node="cab-1", open=1)
    check("/v1/commands", 400, "/v1/commands", open=2)
    check(f"/v1/commands/{group}", 200, "/v1/commands/{id}")
    check("/v1/commands/nothing", 404, "/v1/commands/{id}")
    moment = page["rows"][2]["time"]
    rows = check("/v1/devices/lamp-001/readings", 200, readings, **{"from": moment, "to": NOW_US + 3 * SECOND})["rows"]
    assert {r["time_us"] for r in rows} == {NOW_US + 1 * SECOND, NOW_US + 2 * SECOND}
    asked = {"point": "n", "from": NOW_US - 3_600 * SECOND, "every": "1d", "tz": "Europe/Paris"}
    told = check("/v1/history", 200, "/v1/history", device=["lamp-001", "a/b", "x"], fn=["count", "last"], **asked)
    assert told["unknown"] == ["x"]
    assert [s["device"] for s in told["series"]] == ["a/b", "lamp-001"]
    assert told["begins"][0].endswith(("T00:00:00+01:00", "T00:00:00+02:00"))
    assert sum(told["series"][0]["values"]["count"]) == 1
    for status, more in (
        (404, {"device": "lamp-01"}), (404, {"device": "a/b", "point": "m"}), (400, {"tz": "Mars", "node": "cab-1"}),
        (400, {}), (400, {"device": "a/b", "from": "yesterday"}), (400, {"node": "cab-1", "every": "1m", "from": 1}),
    ):  # fmt: skip
        check("/v1/history", status, "/v1/history", **{**asked, **more})


async def test_every_route_is_described_and_every_described_one_is_served(tmp_path: Path) -> None:
    now = Ticking()
    async with opened(tmp_path, now) as store:
        with tokens_of(tmp_path) as tokens:
            app = application(store, tokens, Metrics(), now)
            served = {(r.template, r.method.lower()) for r in app.routes}
            described = json.loads(openapi.document(app.routes))
    assert served == {(path, method) for path, item in described["paths"].items() for method in item}
    assert len(served) == 44


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/v1/nodes/", 404),
        ("DELETE", "/v1/nodes", 405),
        ("POST", "/v1/feed", 405),
        ("GET", "/v1/nodes/cab-1/batches", 405),
        ("GET", "/v1/nodes/a/b/c/place", 404),
        ("GET", "/v1/devices/lamp-001/readings?form=2026-01-01T00:00:00Z", 400),
        ("GET", "/v1/nodes?x=1", 400),
    ],
)
def test_every_error_is_a_problem(served: Process, method: str, path: str, status: int) -> None:
    answer = served.client.request(method, served.url + path, headers=served.bearer())
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["status"] == status
    assert answer.json()["title"]


@pytest.mark.parametrize(
    ("method", "path", "part", "allow"),
    [
        ("GET", "/v1/node", "'/v1/node'; did you mean /v1/nodes? all paths are in /openapi.json", None),
        ("GET", "/nowhere/at/all", "all paths are in /openapi.json", None),
        ("DELETE", "/v1/commands", "'/v1/commands' takes GET and POST, not DELETE", "GET, POST, HEAD"),
        ("GET", "/v1/relinquish", "takes POST, not GET", "POST"),
        ("POST", "/v1/devices/a/b/readings", "takes GET, not POST", "GET, HEAD"),
    ],
)
def test_a_wrong_path_or_method_is_told_in_words(
    served: Process, method: str, path: str, part: str, allow: str | None
) -> None:
    answer = served.client.request(method, served.url + path, headers=served.bearer())
    assert part in answer.json()["detail"]
    assert answer.headers.get("allow") == allow


def test_the_nearest_name_is_told(cloud: Process) -> None:
    cloud.start()
    fill(cloud)
    for path, query, part in (
        ("/v1/nodes/cab-11", {}, "no node 'cab-11' was ever heard; did you mean cab-1?"),
        ("/v1/devices/lamp-01", {}, "there is no device 'lamp-01'; did you mean lamp-001?"),
        ("/v1/devices/lmap-001/readings", {}, "did you mean lamp-001?"),
        ("/v1/devices/lamp-001", {"node": "cba-1"}, "no node 'cba-1' was ever heard; did you mean cab-1?"),
        ("/v1/devices/a/b", {"node": "cab-2"}, "node 'cab-2' has no device 'a/b'; node cab-1 has it"),
        ("/v1/devices/lamp-002/readings", {"node": "cab-2"}, "'lamp-002'; did you mean lamp-001?"),
    ):
        answer = cloud.client.get(cloud.url + path, params=query, headers=cloud.bearer())
        assert (answer.status_code, part in answer.json()["detail"]) == (404, True), answer.text


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    process = Process(tmp_path_factory.mktemp("cloud")).start()
    yield process
    process.close()


def test_views_dropped_and_built_again_answer_the_same(cloud: Process) -> None:
    now = Ticking(NOW_US)
    weather = Weather(5, now)
    cloud.start()
    for _ in range(50):
        now.tick(60)
        assert cloud.push(weather.batch())[0] == 200

    def answers() -> dict[str, Any]:
        pages = ["/v1/nodes", "/v1/nodes/cab-1", "/v1/nodes/cab-2", "/v1/devices"]
        found: dict[str, Any] = {p: cloud.get(p) for p in pages}
        for device in ("a", "b", "c", "d", "x/1"):
            found[device] = cloud.readings(device)
            found[f"{device} latest"] = cloud.get(f"/v1/devices/{device}")
            for point in found[f"{device} latest"]["latest"].values():
                del point["age_s"]
        return found

    before = answers()
    cloud.stop()
    cloud.verb("rebuild", "--data", str(cloud.data))
    cloud.start()
    assert answers() == before
    cloud.stop()
    cloud.start("--feed-days", "0")
    assert answers() == before


def test_one_process_a_store(cloud: Process) -> None:
    cloud.start()
    for verb in (["run", "--port", "0"], ["rebuild"]):
        assert "in use" in cloud.verb(verb[0], "--data", str(cloud.data), *verb[1:], ok=False)
    assert "in use" in cloud.verb("restore", "--data", str(cloud.data), str(cloud.data), ok=False)


def test_plain_http_is_for_loopback_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "--data", str(tmp_path), "--host", "0.0.0.0"]) == 2
    assert "--insecure-http" in capsys.readouterr().err
    assert cli.main(["run", "--data", str(tmp_path), "--tls-cert", "x"]) == 2


def test_https(cloud: Process, need: Any) -> None:
    key, cert = cloud.directory / "key.pem", cloud.directory / "cert.pem"
    request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert]
    subprocess.run([need("openssl"), *request, *names], check=True, capture_output=True)
    cloud.start("--host", "127.0.0.1", "--tls-cert", str(cert), "--tls-key", str(key))
    assert cloud.url.startswith("https://127.0.0.1:")
    url = cloud.url.replace("127.0.0.1", "localhost")
    with httpx.Client(verify=ssl.create_default_context(cafile=str(cert))) as client:
        assert client.get(f"{url}/healthz").json() == {"status": "ok"}


def test_systemd_is_told_when_it_is_ready_and_that_it_lives(cloud: Process) -> None:
    path = cloud.directory / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(path))
        channel.settimeout(10)
        cloud.start(NOTIFY_SOCKET=str(path), WATCHDOG_USEC="200000")
        told = {line for _ in range(6) for line in channel.recv(200).decode().splitlines()}
        assert told >= {"READY=1", "WATCHDOG=1"}
        cloud.stop()
        channel.setblocking(False)
        rest: list[str] = []
        while True:
            try:
                rest.append(channel.recv(100).decode())
            except BlockingIOError:
                break
        assert "STOPPING=1" in rest


@pytest.mark.parametrize("name", ["lamplighter-cloud.service", "lamplighter-webhooks.service"])
def test_the_unit_is_sound_and_hardened(need: Any, tmp_path: Path, name: str) -> None:
    analyze = need("systemd-analyze")
    unit = tmp_path / name
    text = (ROOT / "systemd" / name).read_text()
    program = shutil.which("true")
    unit.write_text(text.replace("/opt/lamplighter/bin/lamplighter-cloud", str(program)))
    done = subprocess.run([analyze, "verify", unit], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not [line for line in done.stderr.splitlines() if "lamplighter" in line], done.stderr
    done = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=20", unit], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:]


def test_a_store_of_another_schema_is_refused(cloud: Process) -> None:
    cloud.start()
    cloud.stop()
    with sqlite3.connect(cloud.data / "store.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert "schema 99" in cloud.verb("rebuild", "--data", str(cloud.data), ok=False)


def test_the_newest_of_the_city_or_of_a_part_of_it(cloud: Process) -> None:
    cloud.start()
    fill(cloud)
    sender = Sender("cab-4")

    def ask(status: int = 200, headers: dict[str, str] | None = None, **query: Any) -> httpx.Response:
        answer = cloud.client.get(f"{cloud.url}/v1/latest", params=query, headers={**cloud.bearer(), **(headers or {})})
        assert answer.status_code == status, answer.text
        return answer

    def ids(**query: Any) -> list[str]:
        return [d["id"] for d in ask(**query).json()["devices"]]

    whole = ask()
    _, lamp = whole.json()["devices"]
    assert (lamp["node"], lamp["kind"], lamp["values"]["n"], lamp["clock"]) == ("cab-1", "streetlight", 8, "synced")
    assert (lamp["alarms"], lamp["severity"], lamp["time_us"]) == (1, "high", NOW_US + 8 * SECOND)
    described = whole.json()["profiles"][lamp["described"]]
    assert (described["profile"], described["points"][0]["unit"]) == ("p", "W")

    assert ids(box="5,47.3,5.1,47.4", kind=["bin", "streetlight"]) == ["a/b", "lamp-001"]
    assert ids(box="6,47.3,6.1,47.4") == ids(node="cab-9") == ids(tag="quay") == ids(quality="bad") == []
    assert ids(alarm=1) == ["lamp-001"]
    assert ids(alarm=0, quality="good", profile="p") == ["a/b"]
    for wrong in ({"box": "1,2,3"}, {"box": "nan,47,6,48"}, {"alarm": "yes"}, {"after": "x"}, {"format": "xml"}):
        ask(400, **wrong)

    tag = whole.headers["etag"]
    ask(304, headers={"If-None-Match": f'"other", {tag}'})
    assert ask(headers={"If-None-Match": tag}, point="n").headers["etag"] != tag
    cursor = whole.json()["cursor"]
    nothing = ask(after=cursor).json()  # but what two nodes name, whose owner may change at any time
    assert ([d["id"] for d in nothing["devices"]], nothing["complete"], nothing["gone"]) == (["lamp-001"], False, [])
    cleared = Alarm(
        id="a", device="lamp-001", rule="r", severity="high", state="cleared", raised_us=NOW_US, time_us=NOW_US + SECOND
    )
    cloud.push(Sender("cab-3").batch(columns("bin-7", n=5, at_us=NOW_US)))
    ask(headers={"If-None-Match": tag})
    assert ids(after=cursor) == ["lamp-001", "bin-7"]
    cloud.push(Sender(epoch=9).batch(cleared, lane=Lane.URGENT))
    since = ask(after=cursor, alarm=1).json()
    assert (since["devices"], since["gone"]) == ([], ["lamp-001", "bin-7"])
    generation, _, position = cursor.partition(".")
    for strange in (f"{int(generation) + 1}.{position}", f"{generation}.99999"):
        assert ask(after=strange).json()["complete"]

    rows = list(csv.DictReader(io.StringIO(ask(format="csv", node="cab-1").text)))
    assert {(r["device"], r["point"], r["value"], r["unit"]) for r in rows} >= {("lamp-001", "n", "8", "W")}
    assert cloud.push(sender.batch(columns("x", n=1)))[1].live_s == 0, "asking for many makes no node push sooner"


def test_no_cell_of_a_table_is_a_formula(cloud: Process) -> None:
    cloud.start()
    cloud.push(Sender().batch(columns("=1+1", n=1, at_us=NOW_US, t="@SUM(A1)", u=-3)))
    answer = cloud.client.get(f"{cloud.url}/v1/latest", params={"format": "csv"}, headers=cloud.bearer())
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert {r["device"] for r in rows} == {"'=1+1"}
    assert {r["point"]: r["value"] for r in rows} == {"n": "0", "t": "'@SUM(A1)", "u": "-3"}
