"""The forms of the device list, as a browser without any script and a program use them: over the real editor, a real
file and a real card."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import unescape
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette

from edge.acting.bundles import Bundles
from edge.changes.births import Births
from edge.changes.editor import DeviceEditor
from edge.config import attempt, load, written_devices
from edge.control.decided import Decided, HeldAt
from edge.control.on_site import OnSite
from edge.sampling.last_samples import LastSamples
from edge.sampling.quality_history import QualityHistory
from edge.web.first_look import FirstLook
from edge.web.sight import Days, Sight
from edge.web.table import served
from edge.web.writing import CSRF, LineActs, TechnicianRoutes
from support.lamps import PLAN
from support.visits import NOW_US, code_for
from support.visits import Cabinet as Technicians
from wire.entries import Health
from wire.sample import Clock

NODE = """
[node]
id = "cab-1"
data_dir = "data"

[cloud]
url = "http://127.0.0.1:9"
token = "x"

[site]
lon = 5.041
lat = 47.322
time_zone = "Europe/Paris"
country = "FR"

[control]
rules = ["rules.toml"]
plan = "plan.toml"

[[line]]
name = "north"
protocol = "modbus"
host = "10.0.0.7"

[[device]]
id = "lamp-1"
name = "Passage <Darcy>"
profile = "lx-1"
line = "north"
address = { unit = 1 }
tags = ["crossing"]
lon = 5.0412345678912
lat = 47.3212345678912

[[device]]
id = "lamp-2"
profile = "lx-1"
line = "north"
address = { unit = 2 }
"""
RULES = """
[[rule]]
name = "fault"
on = { kind = "streetlight" }
when = "lamp_fault"
alarm = { severity = "low", text = { en = "Fault" } }

[[rule]]
name = "light"
on = { id = "lamp-2" }
when = "dark"
command = { on = { tag = "crossing" }, point = "dim_level", value = 100, hold_s = 60 }
"""
FRENCH = {"Accept-Language": "fr"}


class Cabinet:
    """A node as far as its list of devices goes, and a technician with a session."""

    def __init__(self, directory: Path, *, rules: str = RULES) -> None:
        self.file = directory / "node.toml"
        for name, text in (("node", NODE), ("rules", rules), ("plan", PLAN)):
            (directory / f"{name}.toml").write_text(text)
        (directory / "data").mkdir()
        config = load(self.file, {})
        self.lines = list(config.lines)
        self.applied: list[str] = []
        self.technicians = Technicians()
        self.decided: list[Decided] = []
        editor = DeviceEditor(
            directory / "data",
            config.listed.versions,
            counting=(),
            written=lambda: written_devices(self.file, {}),
            attempt=lambda changes, last: attempt(self.file, changes, last),
            apply=self.apply,
            lines=self.lines,
            births=Births(),
            now=lambda: (NOW_US, Clock(1, synced=True)),
        )
        street = LastSamples()
        for device in ("lamp-1", "lamp-2"):
            street.expect(device, 10, 0.0)
        bundles = Bundles(config)
        plan, rules_in_force = bundles.plan_at_start({}), bundles.rules_at_start({})
        sight = Sight(
            node="cab-1",
            zone=ZoneInfo("Europe/Paris"),
            lines=self.lines,
            street=street,
            history=QualityHistory(lambda: NOW_US),
            examine=self.examine,
            faults=dict,
            decided=lambda: self.decided,
            alarms=list,
            days=Days(lambda: None, lambda: NOW_US),
            now=lambda: (NOW_US, Clock(1, synced=True)),
            plan=lambda: plan,
            rules=lambda: rules_in_force,
        )
        writing = TechnicianRoutes(self.technicians.visiting, cast("OnSite", None), cast("LineActs", None))
        self.app = Starlette(routes=served([*writing.table(), *FirstLook(sight, writing, editor).table()]))

    def apply(self, config: Any, _fresh: Any, why: str) -> None:
        self.lines[:] = config.lines
        self.applied.append(why)

    async def examine(self) -> Any:
        return Health(time_us=NOW_US, verdict="ok"), ()

    def units(self) -> dict[str, int]:
        return {a.device.id: a.address.unit for line in self.lines for a in line.attachments}

    @asynccontextmanager
    async def technician(self, name: str = "Léa", counter: int = 1) -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(self.app, client=("192.0.2.7", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=FRENCH) as client:
            answer = await client.post("/session", json={"name": name, "code": code_for(name, counter)})
            client.headers[CSRF] = answer.json()["session"]["csrf"]
            yield client


@pytest.fixture
def cabinet(tmp_path: Path) -> Cabinet:
    return Cabinet(tmp_path)


def inputs(page: httpx.Response) -> dict[str, str]:
    """What a browser would send of a page's form."""
    found = re.findall(r'<input[^>]*?name="([^"]+)"[^>]*?value="([^"]*)"', page.text)
    chosen = re.findall(r'<select name="([^"]+)".*?<option selected>([^<]*)<', page.text, flags=re.DOTALL)
    return {unescape(k): unescape(v) for k, v in (*found, *chosen) if k != "for_s"}


async def post(client: httpx.AsyncClient, path: str, form: dict[str, str], **more: str) -> httpx.Response:
    return await client.post(path, data={**form, **more})


async def test_a_form_that_is_sent_as_it_was_shown_changes_nothing(cabinet: Cabinet) -> None:
    async with cabinet.technician() as client:
        form = inputs(await client.get("/devices/lamp-1/change"))
        assert form["name"] == "Passage <Darcy>"
        assert (form["address.unit"], form["tags"], form["line"]) == ("1", "crossing", "north")
        shown = await post(client, "/devices/lamp-1/change", form)
        assert (shown.status_code, "Modifier lamp-1" in shown.text) == (200, True)
        assert '<p class="value">–</p>' in shown.text, "nothing would change"
        done = await post(client, "/devices/lamp-1/change", inputs(shown), confirm="yes")
        assert (done.status_code, done.headers["Location"]) == (303, "/devices/lamp-1")
        assert (await client.get("/list", headers={"Accept": "application/json"})).json()[0]["changes"] == []


async def test_what_does_not_fit_is_said_at_its_field_and_nothing_that_was_typed_is_lost(cabinet: Cabinet) -> None:
    typed = {"name": "Rue <b>", "address.unit": "trois", "lon": "400", "tags": "a, b"}
    async with cabinet.technician() as client:
        form = inputs(await client.get("/devices/lamp-2/change"))
        answer = await post(client, "/devices/lamp-2/change", form, **typed)
        assert answer.status_code == 422
        assert "Un nombre de -180 à 180." in answer.text
        assert {k: inputs(answer)[k] for k in typed} == typed
        answer = await post(client, "/devices/lamp-2/change", inputs(answer), lon="5.1", lat="47.3")
        assert answer.status_code == 422
        assert "Un nombre entier de 0 à 255." in answer.text
        taken = await post(client, "/devices/lamp-2/change", form, **{"address.unit": "1"})
        assert "lamp-1 l’a déjà." in unescape(taken.text)
        mended = await post(client, "/devices/lamp-2/change", inputs(answer), **{"address.unit": "3"})
        assert mended.status_code == 200
        back = await post(client, "/devices/lamp-2/change", inputs(mended), confirm="no")
        assert inputs(back)["name"] == "Rue <b>"
        assert cabinet.applied == []
        await post(client, "/devices/lamp-2/change", inputs(mended), confirm="yes")
    assert cabinet.units() == {"lamp-1": 1, "lamp-2": 3}
    assert cabinet.applied == ["Léa has changed its devices"]
    (said,) = [v for v in cabinet.technicians.told if v.act == "acted"]
    assert said.detail == "changed: unit 2 → 3, name – → Rue <b>, lon – → 5.1, lat – → 47.3, tags – → a, b"


async def test_a_device_is_added_and_gone_back_from(cabinet: Cabinet) -> None:
    async with cabinet.technician() as client:
        form = inputs(await client.get("/list/add?line=north"))
        new = {"id": "lamp-3", "profile": "lx-1", "address.unit": "3"}
        wrong = await post(client, "/list/add", form, **{**new, "id": "lamp-1"})
        assert wrong.status_code == 422
        shown = await post(client, "/list/add", form, **new)
        await post(client, "/list/add", inputs(shown), confirm="yes")
        assert cabinet.units()["lamp-3"] == 3
        page = (await client.get("/list")).text
        assert "lamp-3 ajouté" in page
        gone = await post(client, "/list/back", {"csrf": client.headers[CSRF], "version": "1"}, number="0")
        assert gone.headers["Location"] == "/list"
        assert "lamp-3" not in cabinet.units()
        none = await post(client, "/list/back", {"csrf": client.headers[CSRF], "version": "2"}, number="77")
        assert none.headers["Location"] == "/list?problem=unusable"


async def test_a_text_that_was_there_keeps_nobody_from_replacing_a_device(cabinet: Cabinet) -> None:
    cabinet.file.write_text(cabinet.file.read_text().replace("lat = 47.3212345678912\n", ""))
    async with cabinet.technician() as client:
        done = await client.post("/devices/lamp-1/replace", json={"address.unit": 9})
        assert (done.status_code, done.json()) == (200, {"version": 1})
        strange = await client.post("/devices/lamp-2/change", json={"name": "Rue\u202e", "address.unit": 2})
        assert (strange.status_code, list(strange.json()["problems"])) == (422, ["name"])


async def test_programs_are_told_by_number(cabinet: Cabinet) -> None:
    async with cabinet.technician() as client:
        wrong = await client.post("/devices/lamp-1/replace", json={"address.unit": 999})
        assert (wrong.status_code, list(wrong.json()["problems"])) == (422, ["address.unit"])
        more = await client.post("/devices/lamp-1/replace", json={"address.unit": 9, "name": "x"})
        assert (more.status_code, "name" in more.json()["error"]) == (400, True)
        done = await client.post("/devices/lamp-1/replace", json={"address.unit": 9})
        assert (done.status_code, done.json()) == (200, {"version": 1})
        stale = await client.post("/devices/lamp-1/replace", json={"address.unit": 8, "version": 0})
        assert (stale.status_code, stale.json()["problem"]) == (409, "stale")
        assert (await client.post("/devices/none/replace", json={})).status_code == 404
        assert (await client.post("/list/add", json={"line": "none"})).status_code == 404
        (cabinet.file.parent / "data" / "devices.json").unlink()
        (cabinet.file.parent / "data").rmdir()
        broken = await client.post("/devices/lamp-1/replace", json={"address.unit": 7})
        assert (broken.status_code, broken.json()["problem"]) == (503, "unusable")
    assert cabinet.units()["lamp-1"] == 9


async def test_without_a_session_it_is_shown_and_not_done(cabinet: Cabinet) -> None:
    transport = httpx.ASGITransport(cabinet.app, client=("192.0.2.8", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert 'action="/session"' in (await client.get("/devices/lamp-1/replace")).text
        assert (await client.post("/devices/lamp-1/remove", json={})).status_code == 403
        for path in ("/devices/none/change", "/list/add", "/list/add?line=none"):
            answer = await client.get(path)
            assert (answer.status_code, answer.headers["Location"]) == (303, "/list")


async def test_whoever_removes_a_device_sees_what_has_to_do_with_it_and_may_all_the_same(cabinet: Cabinet) -> None:
    held = HeldAt(level="hypervisor", value=80.0, by="m.dupont", until_us=NOW_US)
    because = {"en": "80 % because of the control room", "fr": "80 % : poste de contrôle"}
    cabinet.decided = [
        Decided(device="lamp-1", point="dim_level", value=80.0, why=because, levels=(held,)),
        Decided(device="lamp-2", point="dim_level", value=80.0, why=because, levels=(held,)),
    ]
    async with cabinet.technician() as client:
        page = await client.get("/devices/lamp-1/remove")
        shown = await post(client, "/devices/lamp-1/remove", inputs(page))
        for seen in (page, shown):
            card = unescape(seen.text.partition('id="named"')[2].partition("</article>")[0])
            told = [re.sub(r"\s+", " ", each) for each in re.findall(r"<li>(.*?)</li>", card)]
            assert told == [
                "Le programme always le règle, par son calendrier street.",
                "La règle fault le surveille.",
                "La règle light le règle.",
                "Il est du groupe crossing.",
                "Un ordre tient dim_level : 80 % : poste de contrôle",
            ]
        assert 'id="named"' not in (await client.get("/devices/lamp-1/replace")).text
        cabinet.decided = []
        english = (await client.get("/devices/lamp-2/remove", headers={"Accept-Language": "en"})).text
        assert "The rule light watches it." in english
        assert "An order" not in english


async def test_where_a_rule_of_the_node_would_select_nothing_any_more_it_is_refused(cabinet: Cabinet) -> None:
    async with cabinet.technician() as client:
        for device in ("lamp-1", "lamp-2"):  # the only one with the tag; the only one with the id
            path = f"/devices/{device}/remove"
            answer = await post(client, path, inputs(await client.get(path)))
            assert answer.status_code == 422
            assert "rules.toml" in answer.text
            assert (await client.post(path, json={})).status_code == 422
    assert cabinet.applied == []


async def test_where_nothing_needs_it_the_second_press_removes_it(tmp_path: Path) -> None:
    cabinet = Cabinet(tmp_path, rules=RULES.partition('[[rule]]\nname = "light"')[0])
    async with cabinet.technician() as client:
        shown = await post(client, "/devices/lamp-1/remove", inputs(await client.get("/devices/lamp-1/remove")))
        assert "La règle fault le surveille." in shown.text
        assert cabinet.applied == [], "not with the first press"
        await post(client, "/devices/lamp-1/remove", inputs(shown), confirm="yes")
    assert cabinet.units() == {"lamp-2": 2}


KEYS = ("name", "line", "profile", "tags", "lon", "poll_s", "address.unit", "report", "id", "confirm", "version", "x")


@given(st.dictionaries(st.sampled_from(KEYS), st.text(max_size=60), max_size=6))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_form_brings_is_answered(tmp_path_factory: pytest.TempPathFactory, form: dict[str, str]) -> None:
    async def story() -> None:
        cabinet = Cabinet(tmp_path_factory.mktemp("cabinet"))
        async with cabinet.technician() as client:
            before = inputs(await client.get("/devices/lamp-1/change"))
            answer = await post(client, "/devices/lamp-1/change", {**before, **form})
            assert answer.status_code in (200, 303, 422)
            if answer.status_code == 422:
                back = inputs(answer)
                shown = {k: v for k, v in form.items() if k in ("name", "tags", "lon", "address.unit")}
                assert {k: back.get(k) for k in shown} == shown
            assert set(cabinet.units()) == {"lamp-1", "lamp-2"}

    asyncio.run(story())
