"""A phone before the node's pages, in a real browser: what it sees, and what is demanded of every page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

PHONE = {"width": 360, "height": 740}
DESK = {"width": 1280, "height": 900}
TOUCHED = ".thumb a, .button, .row, button, summary, input:not([type=hidden])"
LEAST_PX = 56


@contextmanager
def looking(
    chromium: Browser, url: str, *, language: str = "fr", size: dict[str, int] = PHONE, script: bool = True
) -> Iterator[Page]:
    """A page of the node; whatever the browser complains of, a policy that was broken for instance, is a failure."""
    context = chromium.new_context(
        base_url=url.removesuffix("/health"), locale=language, viewport=size, java_script_enabled=script  # type: ignore[arg-type]
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


def words(text: str) -> str:
    """With plain spaces: pages have narrow and no-break ones."""
    return re.sub(r"[\s\u00a0\u202f]+", " ", text).strip()


def plain(page: Page, selector: str) -> str:
    """What the first of these says."""
    return words(page.locator(selector).first.inner_text())


def usable(page: Page) -> None:
    """Axe finds nothing, nothing is cut off, and all that is touched is large enough for gloves."""
    found: dict[str, Any] = Axe().run(page).response
    assert [(v["id"], [n["html"] for n in v["nodes"]]) for v in found["violations"]] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is cut off"
    bar = page.locator(".thumb").bounding_box()
    assert bar is not None
    on_top = page.evaluate("([x, y]) => !!document.elementFromPoint(x, y).closest('.thumb')", [9, bar["y"] + 9])
    assert on_top, "nothing lies over what the thumb reaches"
    boxes = [(t.inner_text(), t.bounding_box()) for t in page.locator(TOUCHED).all() if t.is_visible()]
    assert [(name, box) for name, box in boxes if box is not None and box["height"] < LEAST_PX] == []


def log_in(page: Page, name: str, code: str) -> None:
    """As a technician does."""
    page.fill("input[name=name]", name)
    page.fill("input[name=code]", code)
    page.locator(".login button").click()
