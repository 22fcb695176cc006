"""The pages in a real browser: phone and desk, French and English, with and without scripts; axe finds nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Request, expect

from support.lamps import Lamps, until
from support.phone import DESK, PHONE, log_in, looking, plain, usable
from support.visits import code_for

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]

MAX_WIRE_BYTES = 60_000
TECHNICIAN = "Jeanne Martin"


@pytest.mark.parametrize(
    ("size", "language", "verdict"),
    [(PHONE, "fr", "1 appareil a besoin de vous"), (DESK, "en", "1 device needs you")],
    ids=["phone", "desk"],
)
def test_the_first_page(chromium: Browser, cabinet: Lamps, size: dict[str, int], language: str, verdict: str) -> None:
    with looking(chromium, cabinet.stage.health_url, language=language, size=size) as page:
        for path in ("/", "/devices/lamp-001", "/devices/lamp-009", "/devices/none"):
            page.goto(path)
            if path == "/":
                assert plain(page, ".verdict") == verdict
                assert "Passage Darcy" in plain(page, ".card")
                assert page.locator(".strip").count() == 3
            usable(page)


def test_dark_pages_can_be_read_too(chromium: Browser, cabinet: Lamps) -> None:
    with looking(chromium, cabinet.stage.health_url) as page:
        page.emulate_media(color_scheme="dark")
        page.goto("/devices/lamp-009")
        assert [v["id"] for v in Axe().run(page).response["violations"]] == []


def test_without_scripts_it_says_the_same(chromium: Browser, cabinet: Lamps) -> None:
    with looking(chromium, cabinet.stage.health_url, script=False) as page:
        page.goto("/")
        assert plain(page, ".verdict") == "1 appareil a besoin de vous"
        page.locator(".card h3 a").first.click()
        assert page.url.endswith("/devices/lamp-009")
        page.get_by_role("link", name="English").click()
        assert "Passage Darcy" in plain(page, ".verdict")
        assert "Check its supply" in plain(page, ".card") or "The gateway is well" in plain(page, ".card")


def test_all_of_it_is_small_on_the_wire_and_comes_from_the_node(chromium: Browser, cabinet: Lamps) -> None:
    with looking(chromium, cabinet.stage.health_url) as page:
        done: list[Request] = []

        def note(request: Request) -> None:
            done.append(request)

        page.on("requestfinished", note)
        page.goto("/")
        page.wait_for_load_state("networkidle")
        took = [(r.url, r.sizes()["responseBodySize"] + r.sizes()["responseHeadersSize"]) for r in done]
        assert len(took) >= 3
        assert sum(size for _, size in took) < MAX_WIRE_BYTES, took
        assert all(url.startswith(cabinet.stage.health_url.removesuffix("/health")) for url, _ in took)


def test_it_keeps_itself_up_to_date_and_says_when_the_cabinet_is_gone(chromium: Browser, cabinet: Lamps) -> None:
    with looking(chromium, cabinet.stage.health_url) as page:
        page.goto("/")
        first = plain(page, ".when")
        until(lambda: plain(page, ".when") != first)
        expect(page.locator(".lost")).to_be_hidden()
        page.route("**/*", lambda route: route.abort())
        expect(page.locator(".lost")).to_be_visible(timeout=12_000)
        page.unroute("**/*")
        expect(page.locator(".lost")).to_be_hidden(timeout=12_000)


def test_a_technician_tests_a_lamp_and_gives_it_back(chromium: Browser, cabinet: Lamps) -> None:
    token = Path(cabinet.stage.directory / "node.token").read_text().strip()
    with looking(chromium, cabinet.stage.health_url) as page:
        page.goto("/devices/lamp-001")
        log_in(page, TECHNICIAN, "00000000")
        assert "Ce code est faux" in plain(page, ".message")
        log_in(page, TECHNICIAN, code_for(TECHNICIAN, 1, token))
        expect(page.locator(".session").first).to_contain_text(TECHNICIAN)
        assert [v["id"] for v in Axe().run(page).response["violations"]] == []
        page.locator(".setting", has_text="Niveau").get_by_role("button", name="100").click()
        until(lambda: cabinet.level(1) == 100)
        expect(page.locator(".held")).to_contain_text(TECHNICIAN)
        left = page.locator(".held .left")
        before = left.inner_text()
        until(lambda: left.inner_text() != before)
        page.get_by_role("button", name="La rendre").click()
        until(lambda: cabinet.level(1) == 35)
        page.get_by_role("button", name="Je suis ici").click()
        expect(page.locator(".session").first).to_contain_text("jusqu")
        page.locator(".setting", has_text="Niveau").get_by_role("button", name="Clignoter").click()
        for level in (100, 0, 100):
            until(lambda level=level: cabinet.level(1) == level)
        expect(page.locator(".held")).to_contain_text("la fait clignoter")
        assert re.fullmatch(r"[12]:\d\d", page.locator(".held .left").inner_text())
        usable(page)
        page.get_by_role("button", name="Quitter").click()  # and what blinks for them ends with their session
        expect(page.locator(".login")).to_be_visible()
        until(lambda: cabinet.level(1) == 35)


def test_two_technicians_at_once_and_a_test_that_ends_by_itself(chromium: Browser, cabinet: Lamps) -> None:
    token = Path(cabinet.stage.directory / "node.token").read_text().strip()
    url = cabinet.stage.health_url
    with looking(chromium, url) as first, looking(chromium, url, language="en") as second:
        for page, name, counter in ((first, "Léa Petit", 2), (second, "Max Roy", 3)):
            page.goto("/devices/lamp-001")
            log_in(page, name, code_for(name, counter, token))
            expect(page.locator(".session").first).to_contain_text(name)
        first.goto("/devices/lamp-002")
        first.evaluate("for (const i of document.querySelectorAll('[name=for_s]')) if (i.value === '120') i.value = 10")
        first.locator(".setting", has_text="Niveau").get_by_role("button", name="100").click()
        until(lambda: cabinet.level(2) == 100)
        left = first.locator(".held .left")
        assert re.fullmatch(r"0:(10|0\d)", left.inner_text())
        # Meanwhile both are at the other lamp: the last word counts, and each sees whose it was.
        second.locator(".setting", has_text="level").get_by_role("button", name="100").click()
        until(lambda: cabinet.level(1) == 100)
        expect(second.locator(".held")).to_contain_text("Max Roy")
        with looking(chromium, url) as reader:
            reader.goto("/devices/lamp-001")
            expect(reader.locator("#why + .card, .card").filter(has_text="Max Roy").first).to_be_visible()
        usable(second)
        usable(first)
        second.get_by_role("button", name="Give it back").click()
        until(lambda: cabinet.level(1) == 35)
        until(lambda: cabinet.level(2) == 35, within_s=25)
        expect(first.locator(".held")).to_have_count(0, timeout=12_000)
        for page, words in ((first, "Quitter"), (second, "Log out")):
            page.get_by_role("button", name=words).click()
            expect(page.locator(".login")).to_be_visible()


def test_a_technician_replaces_a_device(chromium: Browser, cabinet: Lamps) -> None:
    token = Path(cabinet.stage.directory / "node.token").read_text().strip()
    with looking(chromium, cabinet.stage.health_url) as page:

        def sound() -> None:
            assert [v["id"] for v in Axe().run(page).response["violations"]] == []
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is cut off"

        page.goto("/devices/lamp-009")
        log_in(page, "Ana", code_for("Ana", 4, token))
        page.get_by_role("link", name="Le remplacer").click()
        sound()
        page.locator("[name='address.unit']").fill("2")
        page.get_by_role("button", name="Suivant").click()
        expect(page.locator(".fields .wrong")).to_contain_text("lamp-002 l’a déjà")
        assert page.locator("[name='address.unit']").input_value() == "2", "nothing that was typed is lost"
        sound()
        page.locator("[name='address.unit']").fill("12")
        page.get_by_role("button", name="Suivant").click()
        expect(page.locator(".card")).to_contain_text("unit 9 → 12")
        sound()
        page.get_by_role("button", name="Oui, le faire").click()
        expect(page.locator(".birth")).to_contain_text("Pas encore de réponse", timeout=20_000)
        sound()
        page.goto("/list")
        sound()
        page.get_by_role("button", name="Y revenir").last.click()
        expect(page.locator("#versions ~ article").first).to_contain_text("retour à la version 0")
        page.goto("/devices/lamp-009/remove")
        expect(page.locator("#named")).to_contain_text("Le programme always le règle")
        sound()
        page.get_by_role("button", name="Le retirer").click()
        expect(page.locator("#named")).to_contain_text("Le programme always le règle")
        sound()
        page.get_by_role("button", name="Oui, le faire").click()
        expect(page.locator("#versions ~ article").first).to_contain_text("lamp-009 retiré")
