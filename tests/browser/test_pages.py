"""The pages in a real browser: phone and desk, French and English, with and without scripts; axe finds nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Request, expect

from support.lamps import Lamps, until
from support.visits import code_for

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]

PHONE = {"width": 360, "height": 740}
DESK = {"width": 1280, "height": 900}
MAX_WIRE_BYTES = 60_000
TECHNICIAN = "Jeanne Martin"


@contextmanager
def looking(
    chromium: Browser, lamps: Lamps, *, language: str = "fr", size: dict[str, int] = PHONE, script: bool = True
) -> Iterator[Page]:
    """A page of the node; whatever the browser complains of, a policy that was broken for instance, is a failure."""
    url = lamps.stage.health_url.removesuffix("/health")
    context = chromium.new_context(
        base_url=url, locale=language, viewport=size, java_script_enabled=script  # type: ignore[arg-type]
    )  # fmt: skip
    page = context.new_page()
    complaints: list[str] = []
    page.on(
        "console", lambda m: complaints.append(m.text) if "Security Policy" in m.text or m.type == "warning" else None
    )
    page.on("pageerror", lambda e: complaints.append(str(e)))
    try:
        yield page
    finally:
        context.close()
    assert complaints == []


def plain(page: Page, selector: str) -> str:
    return re.sub(r"[\s\u00a0\u202f]+", " ", page.locator(selector).first.inner_text()).strip()


@pytest.mark.parametrize(
    ("size", "language", "verdict"),
    [(PHONE, "fr", "1 appareil a besoin de vous"), (DESK, "en", "1 device needs you")],
    ids=["phone", "desk"],
)
def test_the_first_page(chromium: Browser, cabinet: Lamps, size: dict[str, int], language: str, verdict: str) -> None:
    with looking(chromium, cabinet, language=language, size=size) as page:
        for path in ("/", "/devices/lamp-001", "/devices/lamp-009", "/devices/none"):
            page.goto(path)
            if path == "/":
                assert plain(page, ".verdict") == verdict
                assert "Passage Darcy" in plain(page, ".card")
                assert page.locator(".strip").count() == 3
            found: dict[str, Any] = Axe().run(page).response
            assert [(v["id"], [n["html"] for n in v["nodes"]]) for v in found["violations"]] == []
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is cut off"
            thumbs = page.locator(".thumb a, .button, .row").all()
            assert min(t.bounding_box()["height"] for t in thumbs) >= 56, "for gloves"  # type: ignore[index]


def test_dark_pages_can_be_read_too(chromium: Browser, cabinet: Lamps) -> None:
    with looking(chromium, cabinet) as page:
        page.emulate_media(color_scheme="dark")
        page.goto("/devices/lamp-009")
        assert [v["id"] for v in Axe().run(page).response["violations"]] == []


def test_without_scripts_it_says_the_same(chromium: Browser, cabinet: Lamps) -> None:
    with looking(chromium, cabinet, script=False) as page:
        page.goto("/")
        assert plain(page, ".verdict") == "1 appareil a besoin de vous"
        page.locator(".card h3 a").first.click()
        assert page.url.endswith("/devices/lamp-009")
        page.get_by_role("link", name="English").click()
        assert "Passage Darcy" in plain(page, ".verdict")
        assert "Check its supply" in plain(page, ".card") or "The gateway is well" in plain(page, ".card")


def test_all_of_it_is_small_on_the_wire_and_comes_from_the_node(chromium: Browser, cabinet: Lamps) -> None:
    with looking(chromium, cabinet) as page:
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
    with looking(chromium, cabinet) as page:
        page.goto("/")
        first = plain(page, ".when")
        until(lambda: plain(page, ".when") != first)
        expect(page.locator(".lost")).to_be_hidden()
        page.route("**/*", lambda route: route.abort())
        expect(page.locator(".lost")).to_be_visible(timeout=12_000)
        page.unroute("**/*")
        expect(page.locator(".lost")).to_be_hidden(timeout=12_000)


def log_in(page: Page, name: str, code: str) -> None:
    page.fill("input[name=name]", name)
    page.fill("input[name=code]", code)
    page.locator(".login button").click()


def test_a_technician_tests_a_lamp_and_gives_it_back(chromium: Browser, cabinet: Lamps) -> None:
    token = Path(cabinet.stage.directory / "node.token").read_text().strip()
    with looking(chromium, cabinet) as page:
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
        page.get_by_role("button", name="Quitter").click()
        expect(page.locator(".login")).to_be_visible()


def test_a_technician_replaces_a_device(chromium: Browser, cabinet: Lamps) -> None:
    token = Path(cabinet.stage.directory / "node.token").read_text().strip()
    with looking(chromium, cabinet) as page:

        def sound() -> None:
            assert [v["id"] for v in Axe().run(page).response["violations"]] == []
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is cut off"

        page.goto("/devices/lamp-009")
        log_in(page, "Ana", code_for("Ana", 3, token))
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
