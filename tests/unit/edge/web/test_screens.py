"""The pages, as a browser without any script gets them; what they look like: tests/browser."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from jinja2 import Environment
from starlette.applications import Starlette

from edge.health import told
from edge.sampling.last_samples import LastSamples
from edge.sampling.quality_history import QualityHistory
from edge.trouble import Trouble
from edge.web import screens as web
from edge.web.first_look import FirstLook
from edge.web.home import MAX_ALARMS, ROWS
from edge.web.sight import Days, Sight
from edge.web.table import NodeRoute, served
from unit.edge.test_config import good
from wire.entries import Alarm, Health
from wire.sample import Clock, Sample, bad

NOW_US = 1_795_258_800_000_000  # 2026-11-21 12:00:00 in Paris
CLOCK = Clock(1, synced=True)
FRENCH = {"Accept-Language": "fr"}
LAMP = """
[[device]]
id = "{id}"
name = {name}
profile = "lx-1"
line = "north"
address = {{ unit = {unit} }}
"""
LINE = """
[node]
id = "cab-17"
data_dir = "data"

[cloud]
url = "http://127.0.0.1:9"
token = "secret"

[[line]]
name = "north"
protocol = "modbus"
host = "10.0.0.7"
"""


class Cabinet:
    """A node of lamps, as far as pages look."""

    def __init__(self, directory: Path, lamps: Mapping[str, str]) -> None:
        text = LINE + "".join(
            LAMP.format(id=d, name=json.dumps(n), unit=i + 1) for i, (d, n) in enumerate(lamps.items())
        )
        self.lines = good(directory / "node.toml", text).lines
        self.now = 1_000.0
        self.street = LastSamples()
        self.history = QualityHistory(lambda: NOW_US)
        self.history.expect(lamps)
        for device in lamps:
            self.street.expect(device, 10, self.now)
            self.hear(device)
        self.troubles: list[Trouble] = []
        self.down: dict[str, str] = {}
        self.alarms: Sequence[Alarm] = []
        self.looks = 0
        self.health = Health(time_us=NOW_US, verdict="ok", last_ack_s=3.0, outbox_limit_bytes=100)

    def hear(self, device: str, why: str = "") -> None:
        quality = {"dim_level": bad(why)} if why else {}
        sample = Sample(device, NOW_US - 2_000_000, CLOCK, {"dim_level": None if why else 40.0}, quality)
        self.street.note(sample, self.now - 2)
        self.history.note(sample)

    async def examine(self) -> tuple[Health, Sequence[Trouble]]:
        self.looks += 1
        return self.health, [*self.troubles, *self.street.troubles(self.now)]

    def app(self) -> Starlette:
        return Starlette(routes=served(self.table()))

    def sight(self) -> Sight:
        return Sight(
            node="cab-17",
            zone=ZoneInfo("Europe/Paris"),
            lines=self.lines,
            street=self.street,
            history=self.history,
            examine=self.examine,
            faults=lambda: self.down,
            decided=list,
            alarms=lambda: self.alarms,
            days=Days(lambda: None, lambda: NOW_US),
            now=lambda: (NOW_US, CLOCK),
            monotonic=lambda: self.now,
        )

    def table(self) -> list[NodeRoute]:
        return FirstLook(self.sight()).table()

    async def get(self, path: str = "/", headers: Mapping[str, str] = {}) -> httpx.Response:
        transport = httpx.ASGITransport(self.app())
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(path, headers={"Accept": "text/html", **headers})


@pytest.fixture
def cabinet(tmp_path: Path) -> Cabinet:
    return Cabinet(tmp_path, {"lamp-1": "Place Darcy", "lamp-2": "", "lamp-3": "<b>&'\""})


def words(answer: httpx.Response) -> str:
    """What can be read, without markup."""
    text = re.sub(r"<[^>]*>", " ", answer.text.partition("<main")[2])
    return re.sub(r"[\s\u00a0\u202f]+", " ", text).replace("&#39;", "'")


def verdict(answer: httpx.Response) -> str:
    found = re.search(r'<h1 class="verdict (\w+)">.*?<span>(.*?)</span>', answer.text)
    assert found is not None
    return f"{found[1]}: {found[2]}"


async def test_all_is_well(cabinet: Cabinet) -> None:
    answer = await cabinet.get()
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert verdict(answer) == "well: This cabinet is working"
    assert "What to do" not in answer.text
    assert "Connected: last confirmed 3 s ago" in words(answer)
    assert verdict(await cabinet.get(headers=FRENCH)) == "well: Cette armoire fonctionne"


async def test_a_silent_lamp_is_named_with_what_to_check(cabinet: Cabinet) -> None:
    cabinet.now += 60
    for lamp in ("lamp-2", "lamp-3"):
        cabinet.hear(lamp)
    cabinet.hear("lamp-1", "no answer within 1 s")
    answer = await cabinet.get()
    assert verdict(answer) == "act: 1 device needs you"
    assert "No answer from Place Darcy since 11:58" in words(answer)
    assert "The others on line north answer. Check its supply, its wiring and its address (unit 1)." in words(answer)
    french = words(await cabinet.get(headers=FRENCH))
    assert "Place Darcy ne répond plus depuis 11:58" in french
    assert "Vérifiez son alimentation, son câblage et son adresse (unité 1)." in french
    assert "pas de réponse en 1 s" in french
    assert french.index("Place Darcy") < french.index("lamp-2"), "it is the first of the list"


async def test_a_line_where_nobody_answers_is_one_thing_to_do(cabinet: Cabinet) -> None:
    cabinet.now += 60
    answer = await cabinet.get()
    assert verdict(answer) == "act: 1 line needs you"
    assert "None of the 3 devices on line north answers" in words(answer)
    assert "No answer from" not in words(answer)


async def test_a_line_that_is_down_says_so_for_its_devices(cabinet: Cabinet) -> None:
    cabinet.now += 60
    why = "not connected; 10.0.0.7:502 cannot be opened: No route to host"
    cabinet.down = {"north": why}
    cabinet.troubles = [Trouble(code="line", line="north", why=why)]
    answer = await cabinet.get(headers=FRENCH)
    assert verdict(answer) == "act: 1 ligne a besoin de vous"
    assert "Ligne north en panne : 3 appareils ne sont pas lus" in words(answer)
    assert "Vérifiez le câble réseau" in words(answer)
    assert "Vérifiez le câble réseau" in words(await cabinet.get("/devices/lamp-1", FRENCH))


async def test_a_city_out_of_reach_is_no_reason_to_come(cabinet: Cabinet) -> None:
    cabinet.troubles = [Trouble(code="cloud-unreachable", why="ConnectError")]
    cabinet.health = Health(
        time_us=NOW_US, verdict="degraded", last_ack_s=90_000.0, outbox_oldest_s=10_800.0, outbox_entries=1234,
        outbox_bytes=20, outbox_limit_bytes=100,
    )  # fmt: skip
    answer = await cabinet.get()
    assert verdict(answer) == "well: This cabinet is working"
    assert "Not connected for 25 h" in words(answer)
    assert "1 234 readings wait · oldest 3 h" in words(answer)
    assert "Everything is kept here" in words(answer)


async def test_losing_readings_is_the_worst(cabinet: Cabinet) -> None:
    cabinet.now += 60
    cabinet.troubles = [Trouble(code="not-kept", why="disk I/O error")]
    answer = await cabinet.get()
    assert verdict(answer) == "failed: This cabinet is losing readings"
    assert answer.status_code == 200


async def test_alarms_are_told_in_the_readers_language_and_count_as_devices(cabinet: Cabinet) -> None:
    cabinet.alarms = [
        Alarm(id=f"a{n}", device="lamp-1", rule="r", severity="high", state="raised", raised_us=NOW_US, time_us=NOW_US,
              text={"en": "Lamp out", "fr": "Lampe éteinte"}) for n in range(MAX_ALARMS + 2)
    ]  # fmt: skip
    answer = await cabinet.get(headers=FRENCH)
    assert verdict(answer) == "act: 1 appareil a besoin de vous"
    assert words(answer).count("Lampe éteinte") == MAX_ALARMS
    assert "et 2 autres alarmes" in words(answer)


async def test_every_trouble_has_words_in_both_languages(cabinet: Cabinet) -> None:
    codes = list(web.home.advice._WORDS)
    numbers = dict.fromkeys(("seconds", "minutes", "percent", "rows", "free_mb"), 5.0)
    cabinet.troubles = [Trouble(code=c, why="w", numbers=numbers) for c in codes]  # type: ignore[arg-type]
    assert {t.code for t in told(cabinet.troubles)} == set(codes)
    for language in ("en", "fr"):
        answer = await cabinet.get(headers={"Accept-Language": language})
        assert len(re.findall(r'class="card', answer.text)) == len(codes)


async def test_a_line_that_was_opened_anew_is_to_be_known(cabinet: Cabinet) -> None:
    cabinet.troubles = [
        Trouble(code="line-anew", line="north", why="no attempt has ended for 301 s", numbers={"minutes": 5})
    ]
    text = words(await cabinet.get(headers=FRENCH))
    assert "La ligne north était bloquée et a été rouverte il y a 5 min" in text
    assert "aucune tentative n’a abouti ni échoué depuis 301 s" in text


async def test_what_people_wrote_is_text_and_never_markup(cabinet: Cabinet) -> None:
    for path in ("/", "/devices/lamp-3", "/devices/%3Cscript%3E"):
        text = (await cabinet.get(path)).text
        assert "<b>&'" not in text
        assert "<script>" not in text
        assert not re.search(r"<[^>]+ (on\w+|style)=", text), "the policy forbids them"


async def test_a_device_has_its_values_its_place_and_its_neighbours(cabinet: Cabinet) -> None:
    answer = await cabinet.get("/devices/lamp-2", FRENCH)
    assert "Niveau de gradation 40,0 %" in words(answer)
    assert "ligne north (10.0.0.7:502)" in words(answer)
    assert 'href="/devices/lamp-1"' in answer.text
    assert 'href="/devices/lamp-3"' in answer.text


async def test_a_device_that_is_not_there(cabinet: Cabinet) -> None:
    answer = await cabinet.get("/devices/lamp-9")
    assert answer.status_code == 404
    assert "did you mean" in words(answer)


async def test_the_language_of_the_phone_and_another_by_a_link(cabinet: Cabinet) -> None:
    answer = await cabinet.get("/devices/lamp-1?lang=fr")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/devices/lamp-1")
    cookie = answer.headers["Set-Cookie"].partition(";")[0]
    assert 'lang="fr"' in (await cabinet.get(headers={"Cookie": cookie, "Accept-Language": "en"})).text
    assert 'lang="en"' in (await cabinet.get(headers={"Cookie": "language=xx"})).text


async def test_many_devices_are_told_page_by_page(tmp_path: Path) -> None:
    cabinet = Cabinet(tmp_path, {f"lamp-{n:03}": "" for n in range(2 * ROWS + 1)})
    for page, there in (("1", ROWS), ("3", 1), ("0", ROWS), ("00", ROWS), ("999", 1), ("-1", ROWS), ("x", ROWS)):
        assert (await cabinet.get(f"/?page={page}")).text.count('class="row ') == there, page


async def test_a_page_is_small_on_the_wire(tmp_path: Path) -> None:
    cabinet = Cabinet(tmp_path, {f"lamp-{n:03}": f"Rue {n}" for n in range(200)})
    cabinet.now += 60
    for n in range(0, 200, 2):
        cabinet.hear(f"lamp-{n:03}")
    app = cabinet.app()
    total = 0
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        for path in ("/", "/static/page.js", "/static/icon.svg"):
            request = client.build_request("GET", path, headers={"Accept": "*/*", "Accept-Encoding": "gzip"})
            answer = await client.send(request, stream=True)
            total += sum([len(piece) async for piece in answer.aiter_raw()])
    assert total < 30_000, "60 KB are allowed"


async def test_nothing_comes_from_elsewhere(cabinet: Cabinet) -> None:
    for path in ("/", "/devices/lamp-1", "/devices/none"):
        answer = await cabinet.get(path)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert not re.search(r"(?:src|href)=\"(?!/|#)", answer.text)


async def test_the_style_is_in_the_page_and_the_policy_names_it_by_its_hash(cabinet: Cabinet) -> None:
    for path in ("/", "/devices/none"):
        answer = await cabinet.get(path)
        (style,) = re.findall(r"<style>(.*?)</style>", answer.text, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        assert f"style-src 'sha256-{digest}';" in answer.headers["Content-Security-Policy"]
        assert "stylesheet" not in answer.text, "nothing has to be waited for before the page is shown"


async def test_static_files_are_kept_by_the_browser_and_there_is_no_other(cabinet: Cabinet) -> None:
    page = (await cabinet.get()).text
    (script,) = re.findall(r'src="(/static/page.js[^"]*)"', page)
    answer = await cabinet.get(script)
    assert "immutable" in answer.headers["Cache-Control"]
    assert (await cabinet.get("/static/..%2Fscreens.py")).status_code == 404
    assert (await cabinet.get("/static/screens.py")).status_code == 404


async def test_who_looks_at_once_sees_one_page(cabinet: Cabinet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "FRESH_S", 1e9)
    transport = httpx.ASGITransport(cabinet.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answers = [await client.get("/", headers={"Accept": "text/html"}) for _ in range(20)]
        assert {a.text for a in answers} == {answers[0].text}
        tag = answers[0].headers["ETag"]
        assert (await client.get("/", headers={"Accept": "text/html", "If-None-Match": tag})).status_code == 304
        for n in range(web.MAX_KEPT + 5):
            await client.get(f"/devices/none-{n}", headers={"Accept": "text/html"})
    assert cabinet.looks == 1


async def test_programs_are_sent_elsewhere(cabinet: Cabinet) -> None:
    assert (await cabinet.get(headers={"Accept": "application/json"})).status_code == 406
    assert (await cabinet.get(headers={"Accept": "*/*"})).status_code == 200


async def test_what_is_squeezed_is_the_page(cabinet: Cabinet) -> None:
    plain: Any = await cabinet.get(headers={"Accept-Encoding": "identity"})
    made = web._made(plain.content, 200)
    assert gzip.decompress(made.squeezed) == plain.content


async def test_whoever_goes_on_from_the_first_page_need_not_wait_for_another_template(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: dict[str, threading.Thread] = {}
    compile_ = Environment.compile

    def noted(self: Environment, source: str, name: str | None = None, *more: Any, **how: Any) -> Any:
        compiled[name or ""] = threading.current_thread()
        return compile_(self, source, name, *more, **how)

    monkeypatch.setattr(Environment, "compile", noted)
    look = FirstLook(Cabinet(tmp_path, {"lamp-1": "One"}).sight())
    app = Starlette(routes=served(look.table()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://node") as client:
        assert (await client.get("/")).status_code == 200
    assert look._screens is not None
    assert look._screens._ahead is not None
    await look._screens._ahead
    assert compiled.keys() == {path.name for path in (Path(web.__file__).parent / "templates").iterdir()}
    assert threading.main_thread() not in compiled.values(), "the lines have their turn meanwhile"
